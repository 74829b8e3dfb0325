"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015).

Two splits. `omniglot` is that of Vinyals et al. 2016 as Snell et al. 2017 listed it: characters of all alphabets are
mixed, and quarter turns are classes of their own, in training and in testing. `omniglot-lake` keeps alphabets apart: 30
background alphabets, of which the last five here serve for validation, and 20 evaluation alphabets.
"""

import json
import zipfile
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading
from metarl.supervised.datasets.cache import cached
from metarl.supervised.datasets.reading import one

READINGS = {
    "omniglot": Reading(size=28, channels=1, inverted=True),
    "omniglot-lake": Reading(size=28, channels=1, inverted=True),
}
PARTS = ("images_background", "images_evaluation")
ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python/"
CHECKSUMS = {
    "images_background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
DRAWERS = 20
VALIDATION_ALPHABETS = 5


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Characters of a split.

    Args:
        data: `omniglot` or `omniglot-lake`.
        split: `train`, `validation` or `test`.
        root: Holds `omniglot/images_background.zip` and `omniglot/images_evaluation.zip`, or these folders unpacked.
        size: Height and width; unset, 28.
        download: Whether missing archives are fetched.

    Raises:
        ValueError: The archives are missing or broken.
    """
    if data == "omniglot":
        chosen = _vinyals(split)
        return _store(_decoded(root, size or 28, download), chosen, rotations=4)
    decoded = _decoded(root, size or 28, download)
    return _store(decoded, _lake(split, decoded), rotations=1)


Decoded = dict[str, tuple[int, Tensor]]
"""`Alphabet/character01` -> which archive it is from (0, 1), and its images, uint8 (20, 1, size, size)."""


@cache
def _decoded(root: Path, size: int, download: bool) -> Decoded:
    sources = [_source(root, part, download) for part in PARTS]

    def make() -> dict[str, Tensor]:
        return {
            f"{number}/{name}": images
            for number, source in enumerate(sources)
            for name, images in _characters(source, size).items()
        }

    kept = cached(f"omniglot {size}", [source for source in sources if source.is_file()], make)
    return {key[2:]: (int(key[0]), images) for key, images in kept.items()}


def _source(root: Path, part: str, download: bool) -> Path:
    """The archive, or the unpacked folder; fetched if need be.

    Raises:
        ValueError: There is neither, and it cannot be fetched.
    """
    for place in (
        root / "omniglot" / f"{part}.zip",
        root / f"{part}.zip",
        root / "omniglot" / part,
        root / part,
    ):
        if place.exists():
            return place
    from metarl.supervised.datasets.downloads import fetch

    return fetch(
        ADDRESS + f"{part}.zip", root / "omniglot" / f"{part}.zip", CHECKSUMS[part], allowed=download
    )


def _characters(source: Path, size: int) -> dict[str, Tensor]:
    """`Alphabet/character` -> uint8 (20, 1, size, size), of an archive or a folder.

    Raises:
        ValueError: It is broken, or not all there.
    """
    reading = READINGS["omniglot"]
    pictures: dict[str, list[np.ndarray]] = {}
    if source.is_dir():
        for path in sorted(source.glob("*/*/*.png")):
            name = f"{path.parent.parent.name}/{path.parent.name}"
            pictures.setdefault(name, []).append(one(path, reading, size, str(path)))
    else:
        for name, picture in _of_archive(source, reading, size):
            pictures.setdefault(name, []).append(picture)
    few = [name for name, drawn in pictures.items() if len(drawn) != DRAWERS]
    if few or not pictures:
        what = f"'{few[0]}' has {len(pictures[few[0]])} of {DRAWERS} drawings" if few else "no drawings"
        raise ValueError(
            f"{source} is not the whole of Omniglot ({what}): delete it, to have it fetched again"
        )
    return {name: torch.from_numpy(np.stack(drawn)) for name, drawn in pictures.items()}


def _of_archive(source: Path, reading: Reading, size: int):
    """Pairs of `Alphabet/character` and picture, in the order of their names."""
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in sorted(name for name in archive.namelist() if name.endswith(".png")):
                *_, alphabet, character, _ = PurePosixPath(entry).parts
                with archive.open(entry) as file:
                    yield f"{alphabet}/{character}", one(file, reading, size, f"{source}: {entry}")
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(
            f"{source} is broken or was not fetched to its end ({error}): delete it, to have it fetched again"
        ) from None


def _vinyals(split: str) -> list[str]:
    """Characters of a split by name, sorted."""
    text = (files("metarl.supervised.datasets") / "splits" / "omniglot_vinyals.json").read_text("utf-8")
    listed = json.loads(text)[split]
    return [f"{alphabet}/character{number:02d}" for alphabet, numbers in listed.items() for number in numbers]


def _lake(split: str, decoded: Decoded) -> list[str]:
    """Characters of a split by alphabets, sorted."""
    part = 1 if split == "test" else 0
    names = sorted(name for name, (number, _) in decoded.items() if number == part)
    if split == "test":
        return names
    held_out = sorted({_alphabet(name) for name in names})[-VALIDATION_ALPHABETS:]
    return [name for name in names if (_alphabet(name) in held_out) == (split == "validation")]


def _alphabet(name: str) -> str:
    return name.partition("/")[0]


def _store(decoded: Decoded, names: list[str], rotations: int) -> ClassStore:
    missing = [name for name in names if name not in decoded]
    if missing:
        raise ValueError(
            f"Omniglot lacks {len(missing)} characters, e.g. '{missing[0]}': delete its archives"
        )
    images = torch.cat([decoded[name][1] for name in names])
    starts = torch.arange(len(names) + 1) * DRAWERS
    return ClassStore(images, starts, names, rotations=rotations, groups=[_alphabet(name) for name in names])
