"""Any folder with a folder of images for each class.

With folders `train`, `validation` (or `val`) and `test` in any case, each holding class folders, these are the splits;
no class may be in two of them. Else classes are shared out, 64 : 16 : 20, in an order that follows from their names
alone.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from itertools import combinations
from pathlib import Path, PurePosixPath

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import FOLDER, SPLITS
from metarl.supervised.datasets.archives import decoded, is_picture, listing
from metarl.supervised.datasets.cache import cached_store

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Images of a split.

    Args:
        data: The folder.
        split: `train`, `validation` or `test`.
        root: Means nothing here.
        size: Height and width that images are brought to; unset, 84.
        download: Means nothing here.

    Raises:
        ValueError: There are too few classes, a class is in two splits, or a file is no image.
    """
    folder, size = Path(data), size or FOLDER.size
    pictures = _by_class(folder, split)
    make = partial(_store, folder, pictures, size)
    return cached_store(f"{folder.resolve().name} {split} {size}", [folder], make, also=list(pictures))


def shared_out(classes: list[str]) -> dict[str, list[str]]:
    """Classes of each split: every class in one split, every split with a class, whatever their order.

    Raises:
        ValueError: There are fewer classes than splits.
    """
    if len(classes) < len(SHARES):
        raise ValueError(
            f"{len(classes)} folders of images were found, but training, validation and test need classes of their "
            "own: make 3 or more, and more than the ways of an episode in each split"
        )
    mixed = sorted(classes, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = {
        split: max(least, round(SHARES[split] * len(mixed))) for split, least in _least(mixed).items()
    }
    first, second = held_out["validation"], sum(held_out.values())
    parts = {"train": mixed[second:], "validation": mixed[:first], "test": mixed[first:second]}
    return {split: sorted(names) for split, names in parts.items()}


def _least(classes: list[str]) -> dict[str, int]:
    """Classes that validation and test have in any case: two to choose between where two are left for training."""
    return {"validation": 2 if len(classes) >= 6 else 1, "test": 2 if len(classes) >= 5 else 1}


def _store(folder: Path, pictures: Mapping[str, list[str]], size: int) -> ClassStore:
    names = [name for each in pictures.values() for name in each]
    labels = [label for label, each in pictures.items() for _ in each]
    return ClassStore.of_labelled(decoded(folder, names, FOLDER, size), labels)


def _by_class(folder: Path, split: str) -> dict[str, list[str]]:
    """Names of the pictures of each class of a split; a class is called by its folders."""
    found: dict[str, list[str]] = {}
    for name in filter(is_picture, listing(folder)):
        found.setdefault(str(PurePosixPath(name).parent), []).append(name)
    found.pop(".", None)  # pictures that lie beside the class folders
    given = {each: _of_split(found, each) for each in SPLITS}
    if any(given.values()):
        if not all(given.values()):
            missing = ", ".join(each for each in SPLITS if not given[each])
            raise ValueError(
                f"{folder} has folders for some splits but no class folders with images in: {missing}; "
                "make all of train, validation and test, or none of them"
            )
        _refuse_shared(folder, given)
        return given[split]
    return {label: found[label] for label in shared_out(sorted(found))[split]}


def _refuse_shared(folder: Path, given: Mapping[str, Mapping[str, list[str]]]) -> None:
    """A class of two splits would be tested on, or chosen by, after it was trained on."""
    for one, other in combinations(SPLITS, 2):
        if shared := sorted(given[one].keys() & given[other].keys()):
            raise ValueError(
                f"{folder}: {len(shared)} classes are in both {one} and {other}, such as {', '.join(shared[:3])}; "
                "expected every class in one split: move each into one of them"
            )


def _of_split(found: Mapping[str, list[str]], split: str) -> dict[str, list[str]]:
    """Classes that lie in a split's folder."""
    folders = ("validation", "val") if split == "validation" else (split,)
    classes: dict[str, list[str]] = {}
    for label, names in sorted(found.items()):
        first, _, name = label.partition("/")
        if name and first.lower() in folders:
            classes.setdefault(name, []).extend(names)
    return classes
