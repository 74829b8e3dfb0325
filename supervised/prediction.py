"""Labels for pictures of one's own: classes learned from a folder of examples.

Legend: S support images, Q queries, W classes, C channels, H and W' height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metarl.supervised.datasets.archives import PICTURES, is_picture
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method
from metarl.supervised.pictures import contact_sheet
from metarl.tables import markdown_table


@dataclass(frozen=True)
class Prediction:
    """Probabilities of classes for query pictures."""

    labels: list[str]
    """Names of the classes, W."""
    queries: list[str]
    """Where the queries come from, Q."""
    probabilities: np.ndarray
    """Shape (Q, W)."""
    support_pictures: np.ndarray
    """As the method saw them, uint8, shape (S, C, H, W')."""
    support_labels: np.ndarray
    """Places in `labels`, shape (S,)."""
    query_pictures: np.ndarray
    """uint8, shape (Q, C, H, W')."""

    @property
    def best(self) -> list[str]:
        """The most likely class of each query."""
        return [self.labels[index] for index in self.probabilities.argmax(1)]

    def table(self, most: int = 3) -> str:
        """A Markdown table: a row for each query, its most likely classes with their probabilities."""
        most = min(most, len(self.labels))
        rows = []
        for query, found in zip(self.queries, self.probabilities, strict=True):
            order = np.argsort(-found, kind="stable")[:most]
            rows.append([query, *(f"{self.labels[index]} {found[index]:.1%}" for index in order)])
        return markdown_table(["query", "label", *("or" for _ in range(most - 1))], rows)

    def sheet(self, out: str | Path) -> Path:
        """Draw support, queries and probabilities in one picture.

        Args:
            out: The image; its suffix says the format.
        """
        out = check_sheet(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        image = contact_sheet(
            self.labels,
            self.support_pictures,
            self.support_labels,
            self.query_pictures,
            self.probabilities,
        )
        image.save(out)
        return out


def check_sheet(out: str | Path) -> Path:
    """The path of a contact sheet that is to be drawn.

    Raises:
        ValueError: It is a folder, or its suffix says no format.
    """
    out = Path(out)
    Image.init()
    if out.is_dir() or Image.EXTENSION.get(out.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"cannot write a picture to '{out}': use the name of a file that ends in .png")
    return out


def classify(
    method: Method,
    support: Tensor,
    support_labels: Tensor,
    query: Tensor,
    statistics: Statistics,
) -> np.ndarray:
    """Probabilities of each class for each query.

    Args:
        method: Any.
        support: Normalised images, sorted by class, shape (S, C, H, W').
        support_labels: int64 in [0, W), shape (S,).
        query: Shape (Q, C, H, W').
        statistics: Normalisation mode.

    Returns:
        Shape (Q, W).
    """
    way = int(support_labels.max()) + 1
    unknown = torch.zeros(len(query), dtype=torch.int64, device=query.device)
    episode = Episode(support, support_labels, query, unknown, torch.arange(way, device=query.device))
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    with torch.no_grad():
        _, scores = method.tested(params, episode, statistics)
    return scores.softmax(-1).double().cpu().numpy()


def support_files(folder: str | Path) -> dict[str, list[Path]]:
    """The pictures of each class.

    Args:
        folder: Holds a folder of pictures for each class. A picture that lies in it directly is a class of its own,
            named after the file.

    Raises:
        ValueError: There is no such folder, fewer than two classes in it, or one without a picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"no folder {folder}; --support takes one that holds a folder of pictures for each class"
        )
    classes: dict[str, list[Path]] = {}
    for place in sorted(folder.iterdir()):
        if place.is_dir() and (found := pictures_in(place)):
            classes[place.name] = found
        elif place.is_dir() and any(not each.name.startswith(".") for each in place.iterdir()):
            raise ValueError(
                f"{place} holds no picture that can be read, expected some ({', '.join(PICTURES)}): convert them, or "
                "take the folder away"
            )
        elif _is_visible(place):
            classes.setdefault(place.stem, []).append(place)
    if len(classes) < 2:
        raise ValueError(
            f"{folder} has {len(classes)} classes, expected 2 or more: folders with pictures ({', '.join(PICTURES)}) "
            "in them, each named after its class"
        )
    return classes


def query_files(queries: Sequence[str | Path]) -> list[Path]:
    """The pictures that are asked about; a folder stands for those in it.

    Raises:
        ValueError: There are none, or one of them does not exist.
    """
    found: list[Path] = []
    for each in map(Path, queries):
        if not each.exists():
            raise ValueError(f"no such picture: {each}")
        found += pictures_in(each) if each.is_dir() else [each]
    if not found:
        raise ValueError("there is no query; name pictures, or a folder of pictures")
    return found


def pictures_in(folder: Path) -> list[Path]:
    """Pictures in a folder, by name."""
    return sorted(each for each in folder.iterdir() if _is_visible(each))


def _is_visible(path: Path) -> bool:
    """Whether a path is a file that looks like a picture and is not hidden."""
    return path.is_file() and is_picture(path.name) and not path.name.startswith(".")


def predict(
    method: Method,
    reading: Any,
    classes: Mapping[str, Sequence[Path]],
    queries: Sequence[Path],
    statistics: Statistics,
) -> Prediction:
    """Read pictures as a data set's are read, and classify them.

    Args:
        method: Trained.
        reading: How pictures are read, see `metarl.supervised.datasets.reference`.
        classes: Support pictures by class.
        queries: What to classify.
        statistics: Normalisation mode.
    """
    from metarl.supervised.datasets import read_pictures

    files = [path for paths in classes.values() for path in paths]
    numbers = [number for number, paths in enumerate(classes.values()) for _ in paths]
    support, query = read_pictures(files, reading), read_pictures(list(queries), reading)
    labels = torch.tensor(numbers)
    device = next((each.device for each in method.module.state_dict().values()), torch.device("cpu"))
    probabilities = classify(
        method,
        _normalised(support, reading).to(device),
        labels.to(device),
        _normalised(query, reading).to(device),
        statistics,
    )
    names = [str(each) for each in queries]
    return Prediction(list(classes), names, probabilities, support.numpy(), labels.numpy(), query.numpy())


def _normalised(pictures: Tensor, reading: Any) -> Tensor:
    """Bytes to what the method was trained on: [0, 1], less the mean, over the standard deviation."""
    mean, std = (
        torch.tensor(each).view(-1, 1, 1) for each in (reading.mean or (0.0,), reading.std or (1.0,))
    )
    return (pictures.to(torch.float32) / 255 - mean) / std
