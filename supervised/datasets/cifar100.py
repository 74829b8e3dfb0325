"""CIFAR-FS (Bertinetto et al. 2019) and FC100 (Oreshkin et al. 2018): CIFAR-100's 100 classes of 600 images, 32x32.

CIFAR-FS has 64 / 16 / 20 classes chosen at random. FC100 keeps superclasses apart: 12 / 4 / 4 of them, 60 / 20 / 20
classes. Both take the images of CIFAR-100's training and test set together.
"""

import json
from functools import partial
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading, safe_pickle
from metarl.supervised.datasets.archives import broken, content
from metarl.supervised.datasets.cache import cached_store
from metarl.supervised.datasets.downloads import fetch, located
from metarl.supervised.datasets.reading import resized

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
SIZE = 32
READINGS = {name: Reading(size=SIZE, channels=3, mean=MEAN, std=STD) for name in ("cifar-fs", "fc100")}
ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
CHECKSUM = "md5:eb9058c3a382ffc7106e4002c42a8d85"
SUPERCLASSES = {
    "train": (1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19),
    "validation": (8, 11, 13, 16),
    "test": (0, 7, 12, 14),
}
"""Of FC100, by their numbers in CIFAR-100."""


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Images of a split.

    Args:
        data: `cifar-fs` or `fc100`.
        split: `train`, `validation` or `test`.
        root: Holds, itself or in `cifar-100`, `cifar-100-python.tar.gz` or the folder that is in it.
        size: Height and width; unset, 32.
        download: Whether a missing archive is fetched.

    Raises:
        ValueError: The archive is missing or broken.
    """
    source = located(root, "cifar-100", ("cifar-100-python", "cifar-100-python.tar.gz"))
    if source is None:
        source = fetch(ADDRESS, root / "cifar-100" / Path(ADDRESS).name, CHECKSUM, allowed=download)
    size = size or SIZE
    return cached_store(
        f"{data} {split} {size}", [source], partial(_store, source, data, split, size), mean=MEAN, std=STD
    )


def _store(source: Path, data: str, split: str, size: int) -> ClassStore:
    names, coarse_names, images, labels, coarse = _all(source)
    if data == "fc100":
        chosen = np.isin(coarse, SUPERCLASSES[split])
    else:
        text = (files("metarl.supervised.datasets") / "splits" / "cifar_fs.json").read_text("utf-8")
        wanted = json.loads(text)[split]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise broken(source, f"it lacks {len(missing)} classes, such as {missing[0]}")
        chosen = np.isin(labels, [names.index(name) for name in wanted])
    group_of = {names[label]: coarse_names[above] for label, above in zip(labels, coarse, strict=True)}
    pictures = resized(images[chosen], size)
    return ClassStore.of_labelled(pictures, [names[label] for label in labels[chosen]], group_of)


def _all(source: Path) -> tuple[list[str], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names of classes and of superclasses; images (n, 32, 32, 3), and the number of both for each."""
    try:
        meta, *parts = (_part(source, name) for name in ("meta", "train", "test"))
        images = np.concatenate([np.asarray(part["data"], np.uint8) for part in parts])
        labels, coarse = (
            np.concatenate([np.asarray(part[key], np.int64) for part in parts])
            for key in ("fine_labels", "coarse_labels")
        )
        images = images.reshape(len(labels), 3, SIZE, SIZE).transpose(0, 2, 3, 1)
        return meta["fine_label_names"], meta["coarse_label_names"], images, labels, coarse
    except (KeyError, TypeError) as error:
        raise broken(source, f"it has no images and classes: {error!r}") from None


def _part(source: Path, name: str) -> dict[str, Any]:
    """One of the pickles."""
    inside = name if source.is_dir() else f"cifar-100-python/{name}"
    return safe_pickle.load(BytesIO(content(source, inside)), f"{source}: {inside}")
