"""mini-ImageNet: 100 classes of 600 photographs, 84x84 (Vinyals et al. 2016), split 64 / 16 / 20 by Ravi and Larochelle.

Images are read from an archive or folder of pictures, or from either kind of pickle that is passed around. Pickles were
made with different resizing: accuracies from them differ by up to half a per cent.
"""

import csv
import json
import re
from functools import partial
from importlib.resources import files
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading, safe_pickle
from metarl.supervised.datasets.archives import broken, content, decoded, is_picture, listing
from metarl.supervised.datasets.cache import cached_store
from metarl.supervised.datasets.downloads import fetch, located
from metarl.supervised.datasets.reading import resized

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
READING = Reading(size=84, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
READINGS = {"mini-imagenet": READING}
FOLDER = "mini-imagenet"
ADDRESS = "https://zenodo.org/record/7978538/files/mini-imagenet-cache-{}.pkl"
SHORT = {"train": "train", "validation": "val", "test": "test"}
"""What the splits are called in file names."""
SYNSET = re.compile(r"n\d{8}")
"""An ImageNet class, with which the names of its pictures or of their folder begin."""


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Photographs of a split.

    Args:
        data: `mini-imagenet`.
        split: `train`, `validation` or `test`.
        root: Holds, itself or in `mini-imagenet`: `mini-imagenet.zip` or a folder `images`, with or without the lists
            `train.csv`, `val.csv` and `test.csv`; or the split's pickle.
        size: Height and width; unset, 84.
        download: Whether a missing pickle is fetched.

    Raises:
        ValueError: Files are missing or broken.
    """
    source, size = _source(root, split, download), size or READING.size
    read = _of_pickle if source.suffix in (".pkl", ".pickle") else _of_pictures
    make = partial(read, source, split, size)
    return cached_store(f"{data} {split} {size}", [source], make, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _source(root: Path, split: str, download: bool) -> Path:
    """Archive, folder or pickle; fetched if need be."""
    short = SHORT[split]
    phase = "train_phase_train" if split == "train" else short
    names = (
        "mini-imagenet.zip",
        "images",
        f"mini-imagenet-cache-{short}.pkl",
        f"mini-imagenet-cache-{split}.pkl",
        f"miniImageNet_category_split_{phase}.pickle",
    )
    found = located(root, FOLDER, names)
    if found is None:
        path = root / FOLDER / f"mini-imagenet-cache-{split}.pkl"
        return fetch(ADDRESS.format(split), path, allowed=download)
    return found.parent if found.name == "images" and _lists(found.parent) else found


def _lists(folder: Path) -> bool:
    """Whether the lists of the splits lie in a folder."""
    return all((folder / f"{short}.csv").is_file() for short in SHORT.values())


def _of_pictures(source: Path, split: str, size: int) -> ClassStore:
    """From an archive or folder, by its lists, or else by the class in the pictures' names."""
    names = listing(source)
    pictures = [name for name in names if is_picture(name)]
    lists = [name for name in names if PurePosixPath(name).name == f"{SHORT[split]}.csv"]
    if lists:
        by_file = {PurePosixPath(name).name: name for name in pictures}
        rows = list(csv.DictReader(StringIO(content(source, lists[0]).decode("utf-8"))))
        missing = [row["filename"] for row in rows if row["filename"] not in by_file]
        if missing:
            raise broken(source, f"{len(missing)} listed pictures are missing, such as {missing[0]}")
        chosen = sorted((row["label"], by_file[row["filename"]]) for row in rows)
    else:
        chosen = _by_name(source, pictures, split)
    images = decoded(source, [name for _, name in chosen], READING, size)
    return ClassStore.of_labelled(images, [label for label, _ in chosen])


def _by_name(source: Path, names: list[str], split: str) -> list[tuple[str, str]]:
    """Class and name of the pictures of a split."""
    text = (files("metarl.supervised.datasets") / "splits" / "mini_imagenet.json").read_text("utf-8")
    wanted = set(json.loads(text)[split])
    labels = [(SYNSET.findall(name) or [""])[-1] for name in names]
    missing = wanted - set(labels)
    if missing:
        raise broken(source, f"there is no picture of {len(missing)} classes, such as {min(missing)}")
    return sorted((label, name) for label, name in zip(labels, names, strict=True) if label in wanted)


def _of_pickle(source: Path, split: str, size: int) -> ClassStore:
    with source.open("rb") as file:
        found = safe_pickle.load(file, str(source))
    try:
        images, labels = _arrays(found)
    except (KeyError, TypeError, ValueError) as error:
        raise broken(source, f"it has no images and classes: {error!r}") from None
    return ClassStore.of_labelled(resized(images, size), labels)


def _arrays(found: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Images (n, H, W, 3) and the class of each, of a pickle by Ren et al. or by Gidaris and Komodakis."""
    if "class_dict" in found:
        images, labels = np.asarray(found["image_data"], np.uint8), [""] * len(found["image_data"])
        for name, rows in found["class_dict"].items():
            for row in rows:
                labels[row] = str(name)
        return images, labels
    return np.asarray(found["data"], np.uint8), [f"{label:05d}" for label in found["labels"]]
