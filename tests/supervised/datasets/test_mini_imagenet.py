import json
import os
import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from metarl.supervised.datasets import SPLITS, load, reference
from tests.supervised.datasets.pictures import colour, picture, reds, write
from tests.supervised.datasets.test_strokes import pixel_accuracy

DATA = "mini-imagenet"
REAL = os.environ.get("METARL_DATA")
SPLIT = json.loads((files("metarl.supervised.datasets") / "splits" / "mini_imagenet.json").read_text())
SYNSETS = [name for split in SPLITS for name in SPLIT[split]]
SHORT = {"train": "train", "validation": "val", "test": "test"}


@pytest.mark.skipif(
    not (REAL and (Path(REAL) / DATA / "mini-imagenet.zip").is_file()),
    reason="METARL_DATA holds no mini-ImageNet",
)
def test_the_real_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("METARL_CACHE", str(tmp_path))
    store = load(DATA, "test", size=32)
    assert store.names == SPLIT["test"]
    assert store.sizes.tolist() == [600] * 20
    assert store.image == (3, 32, 32)
    assert 0.23 < pixel_accuracy(store, 1) < 0.28
    assert 0.29 < pixel_accuracy(store, 5) < 0.34


def contents(pattern, images=2):
    """Pictures of all 100 classes, each of a colour of its own."""
    return {
        pattern.format(synset, image): picture(colour(2 * number + image), size=4)
        for number, synset in enumerate(SYNSETS)
        for image in range(images)
    }


def lists(classes):
    """The three lists, of these classes by split."""
    return {
        f"{SHORT[split]}.csv": "\n".join(
            ["filename,label", *(f"{name}0000000{image}.jpg,{name}" for name in names for image in range(2))]
        ).encode()
        for split, names in classes.items()
    }


def test_the_split_is_whole():
    assert [len(SPLIT[split]) for split in SPLITS] == [64, 16, 20]
    assert len(set(SYNSETS)) == 100


@pytest.mark.parametrize("pattern", ["images/{}0000000{}.jpg", "images/{}/{}.jpg", "images/val/{}/{}.jpg"])
@pytest.mark.parametrize("place", ["mini-imagenet.zip", "."])
def test_without_lists_classes_are_told_by_names(root, pattern, place):
    write(root / DATA / place if place == "." else root / place, contents(pattern))
    for split in SPLITS:
        store = load(DATA, split, root=root, size=4)
        assert store.names == SPLIT[split]
        expected = [(name, 2 * SYNSETS.index(name) + image) for name in store.names for image in range(2)]
        assert reds(store) == expected
        assert store.mean == reference(DATA).mean


@pytest.mark.parametrize("place", ["mini-imagenet.zip", "."])
def test_lists_decide_where_they_are(root, place):
    classes = {"train": [SYNSETS[90], SYNSETS[3]], "validation": [SYNSETS[0]], "test": [SYNSETS[50]]}
    every = contents("images/{}0000000{}.jpg") | lists(classes)
    write(root / place if place != "." else root / DATA, every)
    for split in SPLITS:
        store = load(DATA, split, root=root, size=4)
        assert store.names == sorted(classes[split])
        assert reds(store)[0] == (store.names[0], 2 * SYNSETS.index(store.names[0]))


def test_a_listed_picture_is_missing(root):
    found = lists({split: [SYNSETS[0]] for split in SPLITS}) | {"images/a.jpg": b""}
    write(root / "mini-imagenet.zip", found)
    with pytest.raises(ValueError, match=r"mini-imagenet\.zip .*2 listed pictures are missing"):
        load(DATA, "test", root=root)


def test_a_class_is_missing(root):
    write(root / "mini-imagenet.zip", {"images/n0000000000000001.jpg": picture(colour(1))})
    with pytest.raises(ValueError, match="no picture of 20 classes, such as n01930112"):
        load(DATA, "test", root=root)


def test_pickles_of_both_kinds(root):
    images = np.zeros((4, 4, 4, 3), np.uint8) + np.array([7, 8, 9, 10], np.uint8)[:, None, None, None]
    ren = {"image_data": images, "class_dict": {"n02": [0, 2], "n01": [1, 3]}}
    write(root, {"mini-imagenet-cache-val.pkl": pickle.dumps(ren, 2)})
    assert reds(load(DATA, "validation", root=root, size=4)) == [
        ("n01", 8),
        ("n01", 10),
        ("n02", 7),
        ("n02", 9),
    ]
    gidaris = {"data": images, "labels": [80, 9, 80, 80]}
    write(root, {"miniImageNet_category_split_test.pickle": pickle.dumps(gidaris)})
    found = load(DATA, "test", root=root, size=6)
    assert found.image == (3, 6, 6)
    assert reds(found) == [("00009", 8), ("00080", 7), ("00080", 9), ("00080", 10)]


def test_a_pickle_of_something_else(root):
    write(root, {"mini-imagenet-cache-test.pkl": pickle.dumps({"images": 1})})
    with pytest.raises(ValueError, match=r"cache-test\.pkl is broken .*it has no images and classes"):
        load(DATA, "test", root=root)


def test_nothing_there(root):
    with pytest.raises(
        ValueError, match=r"mini-imagenet-cache-validation\.pkl is missing and may not be fetched"
    ):
        load(DATA, "validation", root=root, download=False)
