import pytest

from metarl.supervised.datasets import Reading, archives
from metarl.supervised.datasets.archives import content, decoded, listing
from tests.supervised.datasets.pictures import colour, picture, write

NAMES = [f"some/{number:02d}.png" for number in range(40)]
READING = Reading(size=6, channels=3)
PLACES = ["folder", "x.zip", "x.tar", "x.tgz"]


def source(tmp_path, place):
    contents = {name: picture(colour(number)) for number, name in enumerate(NAMES)}
    return write(
        tmp_path / place, contents | {"notes.txt": b"text", "__MACOSX/._a": b"", ".hidden/a.png": b""}
    )


@pytest.mark.parametrize("place", PLACES)
def test_pictures_are_read_in_the_order_asked_for(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "AT_ONCE", 7)
    where = source(tmp_path, place)
    assert listing(where) == sorted([*NAMES, "notes.txt"])
    assert content(where, "notes.txt") == b"text"
    asked = [NAMES[number] for number in (30, 2, 17, 5, 39, 0, 8, 9, 10)]
    images = decoded(where, asked, READING, 6)
    assert images.shape == (9, 3, 6, 6)
    assert images[:, 0, 3, 3].tolist() == [30, 2, 17, 5, 39, 0, 8, 9, 10]
    assert images[:, 1, 0, 0].tolist() == [225, 253, 238, 250, 216, 255, 247, 246, 245]


@pytest.mark.parametrize("place", ["x.tar", "x.tgz"])
def test_names_from_a_point_on_are_names(tmp_path, place):
    where = write(tmp_path / place, {"./some/a.png": picture(colour(3)), "./.b.png": b""})
    assert listing(where) == ["./some/a.png"]
    assert decoded(where, ["./some/a.png"], READING, 6)[0, :, 0, 0].tolist() == [3, 252, 7]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_missing_is_named(tmp_path, place):
    where = source(tmp_path, place)
    with pytest.raises(ValueError, match=r"1 of 2 pictures are missing, such as none\.png\): delete it"):
        decoded(where, ["none.png", NAMES[0]], READING, 6)
    with pytest.raises(ValueError, match=r"it has no none\.txt"):
        content(where, "none.txt")
    with pytest.raises(ValueError, match=r"notes\.txt is not an image"):
        decoded(where, ["notes.txt"], READING, 6)


@pytest.mark.parametrize("place", PLACES[1:])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.75])
def test_a_cut_archive_is_named_with_the_way_out(tmp_path, place, share):
    where = source(tmp_path, place)
    whole = where.read_bytes()
    where.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"x\.t?\w+ is broken or was not fetched to its end .* delete it"):
        decoded(where, NAMES, READING, 6)


@pytest.mark.parametrize("place", ["x.zip", "x.tgz"])
def test_a_changed_byte_is_noticed(tmp_path, place):
    where = source(tmp_path, place)
    whole = bytearray(where.read_bytes())
    whole[len(whole) // 3] ^= 255
    where.write_bytes(whole)
    with pytest.raises(ValueError, match=r"x\.\w+.* (is broken|is not an image)"):
        decoded(where, NAMES, READING, 6)
