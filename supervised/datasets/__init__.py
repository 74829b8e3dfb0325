"""Few-shot data sets by name, and any folder of class folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.names import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from metarl.supervised.task_kinds import Store

DATASETS: dict[str, str] = {
    "strokes": "generated drawings of made-up characters, 28x28; nothing to download",
    "omniglot": "1,623 handwritten characters, Vinyals split: 1,028 / 172 / 423, rotations as classes of their own",
    "omniglot-lake": "the same characters by alphabets: 30 background (5 of them for validation), 20 evaluation",
    "mini-imagenet": "60,000 photographs of 100 classes, 84x84, split of Ravi and Larochelle: 64 / 16 / 20",
    "tiered-imagenet": "779,165 photographs of 608 classes, 84x84, split by kinds of things: 351 / 97 / 160",
    "cifar-fs": "the 100 classes of CIFAR-100, 32x32, shared out at random: 64 / 16 / 20",
    "fc100": "the same images by superclasses: 60 / 20 / 20 classes",
    "sinusoid": "sine waves to fit from a few points (a regression; no ways, a shot is a point); nothing to download",
    "cub": "11,788 photographs of 200 kinds of birds, 84x84: 100 / 50 / 50",
}
"""Every data set's name and what it is, in one line."""

GENERATED = ("strokes", "sinusoid")
"""Those that need no files."""
SPLITS = ("train", "validation", "test")
HOMES = {
    "strokes": "strokes",
    "omniglot": "omniglot",
    "omniglot-lake": "omniglot",
    "mini-imagenet": "mini_imagenet",
    "tiered-imagenet": "tiered_imagenet",
    "cifar-fs": "cifar100",
    "fc100": "cifar100",
    "sinusoid": "sinusoid",
    "cub": "cub",
}
"""The module of each data set: it has `load(name, split, root, size, download)`, and, if its images are read from
pictures, `READINGS` by name."""


@dataclass(frozen=True)
class Reading:
    """How pictures of a data set are read, so that others can be brought to the same form."""

    size: int
    """Height and width in pixels."""
    channels: int
    """1 for grey, 3 for colour."""
    inverted: bool = False
    """Whether ink on paper, dark on light, becomes light on dark."""
    mean: tuple[float, ...] = ()
    """Of the channels, taken off; unset, 0."""
    std: tuple[float, ...] = ()
    """Of the channels, which images are divided by; unset, 1."""


def load(
    data: str,
    split: str,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    device: str = "cpu",
    download: bool = True,
) -> Store:
    """The images of one split, or the functions.

    Args:
        data: A key of `DATASETS`, a folder with a folder of images for each class, or one with files of features.
        split: `train`, `validation` or `test`; no class is in two of them.
        root: Folder of the data sets; unset, $METARL_DATA, or ~/.cache/metarl.
        size: Height and width that images are brought to; unset, what is usual for the data.
        device: Where the images lie.
        download: Whether what is missing is fetched from its official address.

    Raises:
        ValueError: Unknown data or split, no such root, or files that are missing or broken.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if root and data in DATASETS and data not in GENERATED and not data_root(root).is_dir():
        raise ValueError(
            f"there is no folder {data_root(root)} for the data sets (--data-root): create it first, or leave it out for "
            f"{data_root()}"
        )
    module = import_module(f"metarl.supervised.datasets.{_home(data)}")
    return module.load(data, split, data_root(root), size, download=download).to(device)


def reference(data: str) -> Reading:
    """How pictures of a data set are read.

    Args:
        data: A key of `DATASETS`, or a folder.
    """
    if data not in DATASETS:  # the folder need not be there any more
        return FOLDER
    return import_module(f"metarl.supervised.datasets.{HOMES[data]}").READINGS[data]


def read_pictures(paths: Sequence[str | Path], reading: Reading) -> Tensor:
    """Pictures of any size and format, in a data set's form.

    Args:
        paths: Image files.
        reading: Of the data set.

    Returns:
        uint8, shape (n, channels, size, size).

    Raises:
        ValueError: A file is missing or no image; the message names it.
    """
    from metarl.supervised.datasets.reading import read

    return read(paths, reading, reading.size)


def data_root(root: str | Path | None = None) -> Path:
    """Folder of the data sets: what is given, else $METARL_DATA, else ~/.cache/metarl."""
    return Path(root or os.environ.get("METARL_DATA") or Path.home() / ".cache" / "metarl").expanduser()


FOLDER = Reading(size=84, channels=3)
"""How the pictures of a folder are read."""


FEATURE_SUFFIXES = (".safetensors", ".npz", ".pkl", ".pickle")
"""What files of features end in, in order of preference."""
FEATURE_STEMS = {
    split: tuple(f"{name}{ending}" for name in names for ending in ("", "_embeddings", "_features"))
    for split, names in {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}.items()
}
"""What they are called before that."""


def features_file(folder: Path, split: str) -> Path | None:
    """The file with a split's features in a folder, see `metarl.supervised.datasets.features`; None if there is none."""
    paths = (folder / f"{stem}{suffix}" for suffix in FEATURE_SUFFIXES for stem in FEATURE_STEMS[split])
    return next((path for path in paths if path.is_file()), None)


def settled(data: str) -> str:
    """The name of a data set as it is, and a folder by its absolute path, which holds wherever one is."""
    return data if data in DATASETS or not Path(data).exists() else str(Path(data).resolve())


def settled_root(root: str | None) -> str | None:
    """The folder of the data sets by its absolute path, where one is named."""
    return None if root is None else str(data_root(root).resolve())


def characters(data: str) -> bool:
    """Whether a data set is of drawn characters, for which a small network is enough."""
    return data in ("omniglot", "omniglot-lake", "strokes")


def holds_features(data: str) -> bool:
    """Whether some data are a folder with features of images, not images."""
    return data not in DATASETS and any(features_file(Path(data), split) for split in SPLITS)


def _home(data: str) -> str:
    """The module that reads some data.

    Raises:
        ValueError: It is neither a name nor a folder.
    """
    if data in HOMES:
        return HOMES[data]
    if Path(data).is_dir():
        return "features" if holds_features(data) else "image_folder"
    raise unknown("data set (and no folder)", data, DATASETS)
