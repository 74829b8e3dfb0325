import os
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from metarl.supervised.datasets import load, omniglot
from metarl.supervised.datasets.cache import cached

ROOT = os.environ.get("METARL_DATA")
real = pytest.mark.skipif(
    not (ROOT and (Path(ROOT) / "omniglot").is_dir()), reason="METARL_DATA holds no Omniglot"
)


@real
def test_the_splits_of_the_real_characters():
    stores = {split: load("omniglot", split) for split in ("train", "validation", "test")}
    assert [each.num_classes for each in stores.values()] == [4112, 688, 1692]
    names = [set(each.names) for each in stores.values()]
    assert len(set().union(*names)) == 1623
    lake = {split: load("omniglot-lake", split) for split in stores}
    assert [each.num_classes for each in lake.values()] == [813, 151, 659]
    alphabets = [set(each.groups) for each in lake.values()]
    assert [len(each) for each in alphabets] == [25, 5, 20]
    assert len(set().union(*alphabets)) == 50
    ink = stores["train"].images.float().mean() / 255
    assert 0.05 < ink < 0.15  # light on dark


def archive(path, characters, drawings=20):
    picture = Image.new("1", (105, 105), 1)
    picture.paste(0, (0, 0, 52, 105))
    picture.save(path.parent / "drawing.png")
    with zipfile.ZipFile(path, "w") as file:
        for character in characters:
            for number in range(drawings):
                file.write(path.parent / "drawing.png", f"images/{character}/{number:02d}.png")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "omniglot").mkdir()
    return tmp_path


def fill(root, **changes):
    background = [f"Alphabet{letter}/character01" for letter in "ABCDEFG"]
    archive(root / "omniglot" / "images_background.zip", background, **changes)
    archive(root / "omniglot" / "images_evaluation.zip", ["Other/character01"])


def test_alphabets_are_kept_apart_and_ink_is_light(root):
    fill(root)
    found = {
        split: load("omniglot-lake", split, root=root, size=8) for split in ("train", "validation", "test")
    }
    assert [each.names for each in found.values()][2] == ["Other/character01"]
    assert found["train"].groups == ["AlphabetA", "AlphabetB"]
    assert len(found["validation"].groups) == 5
    assert found["test"].images.shape == (20, 1, 8, 8)
    assert found["test"].images[0, 0, :, 0].min() == 255


def test_unpacked_folders_are_read_like_archives_and_noticed_when_they_change(root):
    fill(root)
    zipped = load("omniglot-lake", "train", root=root, size=8)
    other = root / "unpacked"
    for part in omniglot.PARTS:
        with zipfile.ZipFile(root / "omniglot" / f"{part}.zip") as file:
            file.extractall(other / part)
    found = load("omniglot-lake", "train", root=other, size=8)
    assert (found.names, found.md5) == (zipped.names, zipped.md5)
    next((other / "images_background").rglob("19.png")).unlink()
    omniglot._decoded.cache_clear()
    with pytest.raises(ValueError, match="19 of 20 drawings"):
        load("omniglot-lake", "train", root=other, size=8)


@pytest.mark.parametrize("harm", ["cut", "few", "none"])
def test_broken_archives_are_named_with_the_way_out(root, harm):
    fill(root, **({"drawings": 19} if harm == "few" else {}))
    place = root / "omniglot" / "images_background.zip"
    if harm == "cut":
        place.write_bytes(place.read_bytes()[:500])
    if harm == "none":
        with zipfile.ZipFile(place, "w"):
            pass
    with pytest.raises(ValueError, match=r"images_background\.zip .*delete it, to have it fetched again"):
        load("omniglot-lake", "train", root=root, size=12)
    assert not list((root / "cache").glob("*"))


def test_what_was_decoded_is_kept_until_it_changes_or_breaks(root):
    source = root / "source"
    source.write_text("1")
    calls = []

    def make():
        calls.append(1)
        return {"x": torch.arange(3)}

    for _ in range(2):
        assert torch.equal(cached("numbers", [source], make)["x"], torch.arange(3))
    assert len(calls) == 1
    (kept,) = (root / "cache").glob("numbers-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x09")
    cached("numbers", [source], make)
    assert len(calls) == 2
    source.write_text("22")
    cached("numbers", [source], make)
    assert len(calls) == 3


def test_one_archive_is_missing_and_may_not_be_fetched(root):
    omniglot._decoded.cache_clear()
    with pytest.raises(ValueError, match="images_background"):
        load("omniglot-lake", "train", root=root, download=False)
