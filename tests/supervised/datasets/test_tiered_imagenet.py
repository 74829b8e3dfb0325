import pickle

import numpy as np
import pytest

from metarl.supervised.datasets import load
from tests.supervised.datasets.pictures import colour, picture, reds, write

DATA = "tiered-imagenet"
LABELS = {
    "label_specific": np.array([1, 0, 1, 2]),
    "label_specific_str": ["owl", "crane", "crane"],
    "label_general": np.array([0, 0, 0, 1]),
    "label_general_str": ["bird", "machine"],
}


def encoded(numbers):
    """PNG files as arrays of bytes, as they are passed around."""
    return [np.frombuffer(picture(colour(number), size=84), np.uint8)[:, None] for number in numbers]


def fill(root, short="val", labels=LABELS, numbers=(10, 20, 30, 40), how="png"):
    write(root / DATA, {f"{short}_labels.pkl": pickle.dumps(labels)})
    if how == "png":
        write(root / DATA, {f"{short}_images_png.pkl": pickle.dumps(encoded(numbers))})
    else:
        images = np.stack([np.broadcast_to(np.array(colour(n), np.uint8), (84, 84, 3)) for n in numbers])
        np.savez(root / DATA / f"{short}_images.npz", images=images[..., ::-1])  # blue, green, red


@pytest.mark.parametrize("how", ["png", "npz"])
def test_both_forms_and_classes_of_one_name(root, how):
    fill(root, how=how)
    store = load(DATA, "validation", root=root)
    assert store.image == (3, 84, 84)
    assert reds(store) == [("000 owl", 20), ("001 crane", 10), ("001 crane", 30), ("002 crane", 40)]
    assert store.groups == ["000 bird", "000 bird", "001 machine"]


@pytest.mark.parametrize("key", ["label_specific", "labels"])
def test_labels_without_names(root, key):
    fill(root, "test", {key: [1, 0, 1, 0]})
    store = load(DATA, "test", root=root, size=12)
    assert reds(store) == [("000", 20), ("000", 40), ("001", 10), ("001", 30)]
    assert store.groups is None


def test_what_is_missing_or_broken_is_said(root):
    with pytest.raises(
        ValueError, match=r"train_images_png\.pkl or train_labels\.pkl .* is missing: fetch https"
    ):
        load(DATA, "train", root=root)
    fill(root, numbers=(1, 2, 3))
    with pytest.raises(ValueError, match=r"it has 3 images, but val_labels\.pkl 4 labels"):
        load(DATA, "validation", root=root)
    fill(root, labels={})
    with pytest.raises(ValueError, match=r"val_labels\.pkl is broken .*it has no classes"):
        load(DATA, "validation", root=root)
    fill(root, "test", how="npz")
    place = root / DATA / "test_images.npz"
    place.write_bytes(place.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"test_images\.npz is broken"):
        load(DATA, "test", root=root)
