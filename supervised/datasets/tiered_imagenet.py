"""tieredImageNet (Ren et al. 2018): 608 classes, 84x84, split by 34 kinds of things, 351 / 97 / 160 classes.

It is too large to be fetched by itself: 12.9 GB, of which the training images take 9.5 GB of memory.
"""

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading, safe_pickle
from metarl.supervised.datasets.archives import broken
from metarl.supervised.datasets.cache import cached_store
from metarl.supervised.datasets.downloads import located
from metarl.supervised.datasets.mini_imagenet import IMAGENET_MEAN, IMAGENET_STD, SHORT
from metarl.supervised.datasets.reading import one, resized

READING = Reading(size=84, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
READINGS = {"tiered-imagenet": READING}
ADDRESS = "https://drive.google.com/uc?id=1g1aIDy2Ar_MViF2gDXFYDBTR-HYecV07"


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Photographs of a split.

    Args:
        data: `tiered-imagenet`.
        split: `train`, `validation` or `test`.
        root: Holds, itself or in `tiered-imagenet`, such files as `train_images_png.pkl` (or `train_images.npz`) and
            `train_labels.pkl`, with `train`, `val` or `test` before each name.
        size: Height and width; unset, 84.
        download: Means nothing: the files are not fetched.

    Raises:
        ValueError: Files are missing or broken.
    """
    short, size = SHORT[split], size or READING.size
    images = located(root, data, (f"{short}_images_png.pkl", f"{short}_images.npz"))
    labels = located(root, data, (f"{short}_labels.pkl",))
    if images is None or labels is None:
        raise ValueError(
            f"{short}_images_png.pkl or {short}_labels.pkl of tieredImageNet is missing: fetch {ADDRESS} (12.9 GB) and "
            f"unpack it into {root / data}"
        )
    make = partial(_store, images, labels, size)
    return cached_store(
        f"{data} {split} {size}", [images, labels], make, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )


def _store(images: Path, labels: Path, size: int) -> ClassStore:
    found = _unpickled(labels)
    try:
        classes = _names(found, "specific")
        groups = _names(found, "general") if "label_general" in found else None
    except (KeyError, TypeError, IndexError) as error:
        raise broken(labels, f"it has no classes: {error!r}") from None
    pictures = _pictures(images, size)
    if len(pictures) != len(classes):
        raise broken(images, f"it has {len(pictures)} images, but {labels.name} {len(classes)} labels")
    group_of = None if groups is None else dict(zip(classes, groups, strict=True))
    return ClassStore.of_labelled(pictures, classes, group_of)


def _names(found: dict[str, Any], kind: str) -> list[str]:
    """Class of each image, by name where there are names; classes of one name are told apart by their number."""
    key = "labels" if kind == "specific" and "labels" in found else f"label_{kind}"
    numbers = [int(number) for number in found[key]]
    names = found.get(f"label_{kind}_str")
    return [f"{number:03d} {names[number]}" if names is not None else f"{number:03d}" for number in numbers]


def _pictures(path: Path, size: int) -> Tensor:
    """uint8, shape (n, 3, size, size)."""
    if path.suffix == ".npz":
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                return resized(
                    np.ascontiguousarray(found["images"][..., ::-1]), size
                )  # blue, green, red there
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise broken(path, error) from None
    encoded = _unpickled(path)
    images = torch.empty(len(encoded), 3, size, size, dtype=torch.uint8)
    target = images.numpy()

    def place(row: int) -> None:
        content = np.asarray(encoded[row], np.uint8).tobytes()
        target[row] = one(BytesIO(content), READING, size, f"{path}: image {row}")

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(place, range(len(encoded))))
    return images


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return safe_pickle.load(file, str(path))
