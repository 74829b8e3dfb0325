"""Lake's 20 one-shot runs on Omniglot: 400 trials with 20 characters of one alphabet, which people were tested on too.

In each run 20 characters, each drawn once by one person, are to be recognised in the drawings of another (Lake et al.
2015). Their answers do not depend on chance, so accuracies can be compared with every published one.

Legend: R runs, W ways (characters).
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from metarl.supervised.datasets import data_root
from metarl.supervised.datasets.archives import broken, content, decoded, listing
from metarl.supervised.datasets.downloads import fetch, located
from metarl.supervised.datasets.omniglot import ADDRESS, READINGS, archive
from metarl.supervised.episodes import Episode

RUNS, WAYS = 20, 20
CHECKSUM = "md5:e8996daecdf12afeeb4a53a179f06b19"
LIST = "one_shot_runs.json"
"""A list of the runs; each has `train` and `test`, drawings of the evaluation alphabets, and `answer`: for each test the
place in `train` of the same character."""

Run = tuple[list[str], list[str]]
"""Drawings to learn from, and of the same characters in the same order those to be recognised."""


def one_shot_runs(
    root: str | Path | None = None, size: int = 28, device: str = "cpu", *, download: bool = True
) -> Episode:
    """The runs as 20-way 1-shot episodes with one query of each class.

    Args:
        root: Folder of the data sets; unset, $METARL_DATA, or ~/.cache/metarl. It holds, itself or in `omniglot`,
            `all_runs.zip`; or `one_shot_runs.json` beside the evaluation characters.
        size: Height and width that drawings (105x105) are brought to.
        device: Where the episodes lie.
        download: Whether a missing archive is fetched.

    Returns:
        20 episodes, on a leading axis; `classes` count characters from 0 to 399.

    Raises:
        ValueError: Files are missing or broken.
    """
    folder = data_root(root)
    place = located(folder, "omniglot", ("all_runs.zip", "all_runs", LIST))
    if place is None:
        address = f"{ADDRESS}one-shot-classification/all_runs.zip"
        place = fetch(address, folder / "omniglot" / "all_runs.zip", CHECKSUM, allowed=download)
    if place.name == LIST:
        source = archive(folder, "images_evaluation", download)
        runs = _listed(place, listing(source))
    else:
        source = place
        runs = _official(place, listing(place))
    support, query = (_drawings(source, [run[part] for run in runs], size, device) for part in range(2))
    labels = torch.arange(WAYS, device=device).expand(RUNS, WAYS)
    classes = torch.arange(RUNS * WAYS, device=device).view(RUNS, WAYS)
    return Episode(support, labels, query, labels, classes)


def _drawings(source: Path, names: list[list[str]], size: int, device: str) -> Tensor:
    """Light on dark in [0, 1], shape (R, W, 1, size, size)."""
    flat = [name for run in names for name in run]
    rows = sorted(set(flat))  # a drawing may be in more than one run
    images = decoded(source, rows, READINGS["omniglot"], size)
    chosen = images[[rows.index(name) for name in flat]].to(device, torch.float32) / 255
    return chosen.view(RUNS, WAYS, 1, size, size)


def _listed(place: Path, names: list[str]) -> list[Run]:
    """Runs of the list."""
    whole = {"/".join(PurePosixPath(name).parts[-3:]): name for name in names}

    def read() -> list[Run]:
        return [
            _paired(run["train"], run["test"], run["answer"], lambda name: whole[name])
            for run in json.loads(place.read_text("utf-8"))
        ]

    return _checked(place, read)


def _official(place: Path, names: list[str]) -> list[Run]:
    """Runs of the archive: each has `class_labels.txt`, lines of a drawing to be recognised and its character."""
    whole = {"/".join(PurePosixPath(name).parts[-3:]): name for name in names}

    def read() -> list[Run]:
        runs = []
        for listed in (name for name in names if PurePosixPath(name).name == "class_labels.txt"):
            lines = [
                line.split() for line in content(place, listed).decode("utf-8").splitlines() if line.strip()
            ]
            tests, characters = [line[0] for line in lines], [line[1] for line in lines]
            train = sorted(characters)
            answers = [train.index(name) for name in characters]
            runs.append(_paired(train, tests, answers, lambda name: whole[name]))
        return runs

    return _checked(place, read)


def _paired(train: list[str], test: list[str], answers: list[int], whole: Callable[[str], str]) -> Run:
    """Tests in the order of what they are to be recognised as."""
    if sorted(answers) != list(range(WAYS)) or len(train) != WAYS or len(test) != WAYS:
        raise IndexError("a run does not have one test of each of 20 characters")
    found = [test[answers.index(character)] for character in range(WAYS)]
    return [whole(name) for name in train], [whole(name) for name in found]


def _checked(place: Path, read: Callable[[], list[Run]]) -> list[Run]:
    """What is read, if it is 20 runs.

    Raises:
        ValueError: It is not.
    """
    try:
        runs = read()
    except (KeyError, TypeError, IndexError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise broken(place, repr(error)) from None
    if len(runs) != RUNS:
        raise broken(place, f"it has {len(runs)} of {RUNS} runs")
    return runs
