import json
import pickle
from importlib.resources import files

import numpy as np
import pytest

from metarl.supervised.datasets import SPLITS, load, reference
from metarl.supervised.datasets.cifar100 import SUPERCLASSES
from tests.supervised.datasets.pictures import reds, write

SPLIT = json.loads((files("metarl.supervised.datasets") / "splits" / "cifar_fs.json").read_text())
FINE = sorted(name for names in SPLIT.values() for name in names)
COARSE = [f"kind {number:02d}" for number in range(20)]


def part(images_each, offset):
    """Images of all classes, red as the class (times 2, plus offset), of superclass class % 20; classes mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100), images_each))
    planes = np.stack([2 * labels + offset, 255 - labels, labels * 0 + 3], 1)
    data = np.repeat(planes, 1024, 1).astype(np.uint8)
    return {
        "data": data,
        "fine_labels": labels.tolist(),
        "coarse_labels": (labels % 20).tolist(),
        "filenames": ["x.png"] * len(labels),
    }


def everything():
    meta = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    parts = {"meta": meta, "train": part(2, 0), "test": part(1, 1)}
    return {f"cifar-100-python/{name}": pickle.dumps(each, 2) for name, each in parts.items()}


@pytest.mark.parametrize("place", ["cifar-100/cifar-100-python.tar.gz", "cifar-100-python.tar.gz", "."])
def test_cifar_fs_has_its_classes_and_the_images_of_both_parts(root, place):
    (root / "cifar-100").mkdir()
    write(root / place, everything())
    names = []
    for split in SPLITS:
        store = load("cifar-fs", split, root=root)
        assert store.image == (3, 32, 32)
        assert store.names == SPLIT[split]
        reds_of = [FINE.index(name) * 2 + image for name in store.names for image in (0, 0, 1)]
        assert reds(store) == list(zip(np.repeat(store.names, 3).tolist(), reds_of, strict=True))
        assert store.groups == [COARSE[FINE.index(name) % 20] for name in store.names]
        assert store.mean == reference("cifar-fs").mean
        names += store.names
    assert len(set(names)) == 100


def test_fc100_keeps_superclasses_apart(root):
    write(root / "cifar-100-python.tar.gz", everything())
    stores = {split: load("fc100", split, root=root, size=8) for split in SPLITS}
    assert [store.num_classes for store in stores.values()] == [60, 20, 20]
    for split, store in stores.items():
        assert set(store.groups) == {COARSE[number] for number in SUPERCLASSES[split]}
        assert store.image == (3, 8, 8)
    assert sorted(number for each in SUPERCLASSES.values() for number in each) == list(range(20))


def test_planes_are_not_mixed_up(root):
    contents = everything()
    train = pickle.loads(contents["cifar-100-python/train"])
    image = np.arange(3072) % 251
    train["data"][0] = image
    contents["cifar-100-python/train"] = pickle.dumps(train, 2)
    write(root / "cifar-100-python.tar.gz", contents)
    name = FINE[train["fine_labels"][0]]
    split = next(each for each in SPLITS if name in SPLIT[each])
    store = load("cifar-fs", split, root=root)
    expected = image.reshape(3, 32, 32)
    assert any(np.array_equal(each, expected) for each in store.images.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: all_.pop("cifar-100-python/meta"), "it has no cifar-100-python/meta"),
        (
            lambda all_: all_.update({"cifar-100-python/test": pickle.dumps({})}),
            "it has no images and classes",
        ),
        (lambda all_: all_.update({"cifar-100-python/test": b"\x80"}), "cifar-100-python/test is broken"),
        (
            lambda all_: all_.update(
                {
                    "cifar-100-python/meta": pickle.dumps(
                        {"fine_label_names": ["x"], "coarse_label_names": COARSE}
                    )
                }
            ),
            "it lacks 20 classes, such as baby",
        ),
    ],
)
def test_broken_archives_are_named(root, change, message):
    contents = everything()
    change(contents)
    write(root / "cifar-100-python.tar.gz", contents)
    with pytest.raises(ValueError, match=rf"cifar-100-python\.tar\.gz.*{message}"):
        load("cifar-fs", "test", root=root)
