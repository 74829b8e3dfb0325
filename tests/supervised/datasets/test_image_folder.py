from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.supervised.datasets import SPLITS, load, read_pictures, reference
from metarl.supervised.datasets.image_folder import shared_out
from tests.supervised.datasets.pictures import colour, picture, reds, write

NAMES = st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=3, max_size=60)


@given(NAMES, st.randoms(use_true_random=False))
def test_every_class_is_in_one_split_whatever_the_order(names, random):
    parts = shared_out(names)
    assert list(parts) == list(SPLITS)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert all(parts.values())
    shuffled = list(names)
    random.shuffle(shuffled)
    assert shared_out(shuffled) == parts


@given(st.integers(10, 500))
def test_splits_have_their_shares(number):
    parts = shared_out([f"class {each}" for each in range(number)])
    for split, share in {"train": 0.64, "validation": 0.16, "test": 0.2}.items():
        assert abs(len(parts[split]) - share * number) <= 1.01


@pytest.mark.parametrize(
    ("number", "sizes"),
    [
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (5, [2, 1, 2]),
        (6, [2, 2, 2]),
        (9, [5, 2, 2]),
        (10, [6, 2, 2]),
        (12, [8, 2, 2]),
    ],
)
def test_few_classes_leave_two_to_choose_between(number, sizes):
    parts = shared_out([f"class {each}" for each in range(number)])
    assert [len(part) for part in parts.values()] == sizes


def fill(folder, classes, images=3):
    """Class folders with pictures of a red of their own."""
    contents = {
        f"{name}/{image}.{'jpg' if image == 0 else 'PNG'}": picture(
            colour(20 * number + image), kind="JPEG" if image == 0 else "PNG"
        )
        for number, name in enumerate(classes)
        for image in range(images)
    }
    return write(
        folder, contents | {f"{classes[0]}/notes.txt": b"no picture", "cover.png": b"not of a class"}
    )


def test_classes_are_shared_out(root):
    classes = [f"kind {letter}" for letter in "abcdefghij"]
    folder = fill(root / "mine", classes)
    stores = {split: load(str(folder), split, size=8) for split in SPLITS}
    assert [len(store.names) for store in stores.values()] == [6, 2, 2]
    for store in stores.values():
        assert store.image == (3, 8, 8)
        for name, red in reds(store):
            assert abs(red - 20 * classes.index(name)) <= 3
    assert sorted(name for store in stores.values() for name in store.names) == classes


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("train", "validation", "test"), ("Train", "Val", "TEST")],
)
def test_folders_of_splits_are_kept(root, train, validation, test):
    folder = fill(root / "mine", [f"{train}/a", f"{train}/b", f"{validation}/c", f"{test}/d"])
    found = {split: load(str(folder), split).names for split in SPLITS}
    assert found == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    assert load(str(folder), "test").image == (3, 84, 84)


def test_a_class_of_two_splits_is_refused(root):
    folder = fill(root / "mine", ["train/a", "train/b", "val/c", "Test/a", "Test/d"])
    for split in SPLITS:
        with pytest.raises(ValueError, match=r"1 classes are in both train and test, such as a; expected"):
            load(str(folder), split)


def test_class_folders_may_be_links(root):
    folder = fill(root / "mine", ["a", "b", "c"])
    (folder / "c").rename(root / "elsewhere")
    (folder / "c").symlink_to(root / "elsewhere", target_is_directory=True)
    (root / "elsewhere" / "circle").symlink_to(folder, target_is_directory=True)
    names = [name for split in SPLITS for name in load(str(folder), split, size=8).names]
    assert sorted(names) == ["a", "b", "c"]
    (split,) = (split for split in SPLITS if "c" in load(str(folder), split, size=8).names)
    write(root / "elsewhere", {"new.png": picture(colour(200))})
    assert len(load(str(folder), split, size=8)) == 4


def test_what_is_wrong_with_a_folder_is_said(root):
    with pytest.raises(ValueError, match=r"2 folders of images were found, but .* make 3 or more"):
        load(str(fill(root / "few", ["a", "b"])), "train")
    with pytest.raises(ValueError, match="no class folders with images in: validation, test"):
        load(str(fill(root / "half", ["train/a", "train/b"])), "train")
    folder = fill(root / "bad", ["a", "b", "c"])
    for name in "abc":
        (folder / name / "1.PNG").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad: ./1\.PNG is not an image"):
        load(str(folder), "train")
    with pytest.raises(ValueError, match=r"unknown data set \(and no folder\)"):
        load(str(root / "none"), "train")


def test_pictures_of_other_form_become_like_those_of_the_folder(root):
    folder = fill(root / "mine", ["a", "b", "c"])
    grey = Path(write(root / "grey", {"g.png": picture(90, size=30, mode="L")})) / "g.png"
    pictures = read_pictures([grey, folder / "a" / "1.PNG"], reference(str(folder)))
    assert pictures.shape == (2, 3, 84, 84)
    assert pictures[:, :, 40, 40].tolist() == [[90, 90, 90], [1, 254, 7]]
