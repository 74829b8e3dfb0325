"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015).

Two splits. `omniglot` is that of Vinyals et al. 2016 as Snell et al. 2017 listed it: characters of all alphabets are
mixed, and quarter turns are classes of their own, in training and in testing. `omniglot-lake` keeps alphabets apart: 30
background alphabets, of which the last five here serve for validation, and 20 evaluation alphabets.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading
from metarl.supervised.datasets.archives import broken, decoded, listing
from metarl.supervised.datasets.cache import cached
from metarl.supervised.datasets.downloads import fetch, located

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
    sources = [archive(root, part, download) for part in PARTS]

    def make() -> dict[str, Tensor]:
        return {
            f"{number}/{name}": images
            for number, source in enumerate(sources)
            for name, images in _characters(source, size).items()
        }

    kept = cached(f"omniglot {size}", sources, make)
    return {key[2:]: (int(key[0]), images) for key, images in kept.items()}


def archive(root: Path, part: str, download: bool) -> Path:
    """The archive, or the unpacked folder; fetched if need be.

    Raises:
        ValueError: There is neither, and it cannot be fetched.
    """
    place = located(root, "omniglot", (f"{part}.zip", part))
    if place is not None:
        return place
    return fetch(
        ADDRESS + f"{part}.zip", root / "omniglot" / f"{part}.zip", CHECKSUMS[part], allowed=download
    )


def _characters(source: Path, size: int) -> dict[str, Tensor]:
    """`Alphabet/character` -> uint8 (20, 1, size, size), of an archive or a folder.

    Raises:
        ValueError: It is broken, or not all there.
    """
    drawings = [name for name in listing(source) if name.endswith(".png")]
    images = decoded(source, drawings, READINGS["omniglot"], size)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(drawings):
        rows.setdefault("/".join(PurePosixPath(name).parts[-3:-1]), []).append(row)
    few = [name for name, drawn in rows.items() if len(drawn) != DRAWERS]
    if few or not rows:
        what = f"'{few[0]}' has {len(rows[few[0]])} of {DRAWERS} drawings" if few else "no drawings"
        raise broken(source, f"not the whole of Omniglot: {what}")
    return {name: images[drawn] for name, drawn in rows.items()}


def _vinyals(split: str) -> list[str]:
    """Characters of a split by name, in the order of the list, which episodes depend on."""
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
