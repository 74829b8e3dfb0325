"""CUB-200-2011: 11,788 photographs of 200 kinds of birds (Wah et al. 2011), split 100 / 50 / 50 as Chen et al. 2019 did.

Counted from 0, kinds of even number are for training; of the others every second is for validation, the rest for test.
Other splits are in use. Pictures are squeezed to squares; boxes around the birds are not used.
"""

from functools import partial
from pathlib import Path, PurePosixPath

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading
from metarl.supervised.datasets.archives import broken, decoded, is_picture, listing
from metarl.supervised.datasets.cache import cached_store
from metarl.supervised.datasets.downloads import fetch, located
from metarl.supervised.datasets.mini_imagenet import IMAGENET_MEAN, IMAGENET_STD

READING = Reading(size=84, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
READINGS = {"cub": READING}
ADDRESS = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CHECKSUM = "md5:97eceeb196236b17998738112f37df78"
KINDS = 200
SPLIT_OF = ("train", "validation", "train", "test")
"""By the number of the kind, from 0, modulo 4."""


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Photographs of a split.

    Args:
        data: `cub`.
        split: `train`, `validation` or `test`.
        root: Holds, itself or in `cub`, `CUB_200_2011.tgz` or the folder `CUB_200_2011` that is in it.
        size: Height and width; unset, 84.
        download: Whether a missing archive is fetched.

    Raises:
        ValueError: The archive is missing or broken.
    """
    source = located(root, data, ("CUB_200_2011", "CUB_200_2011.tgz"))
    if source is None:
        source = fetch(ADDRESS, root / data / "CUB_200_2011.tgz", CHECKSUM, allowed=download)
    size = size or READING.size
    make = partial(_store, source, split, size)
    return cached_store(f"{data} {split} {size}", [source], make, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _store(source: Path, split: str, size: int) -> ClassStore:
    pictures = [name for name in listing(source) if is_picture(name) and "images" in name.split("/")]
    kinds = {_kind(name) for name in pictures}
    if len(kinds) != KINDS:
        raise broken(source, f"it has {len(kinds)} of {KINDS} kinds of birds")
    chosen = [name for name in pictures if SPLIT_OF[(int(_kind(name)[:3]) - 1) % 4] == split]
    return ClassStore.of_labelled(decoded(source, chosen, READING, size), [_kind(name) for name in chosen])


def _kind(name: str) -> str:
    """Such as `001.Black_footed_Albatross`: the folder of a picture."""
    return PurePosixPath(name).parent.name
