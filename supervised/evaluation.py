"""How well a few-shot method classifies: mean accuracy over test episodes and its interval.

Legend: E episodes, W ways, Q queries of each class.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl import distributed
from metarl.plots import markdown_table
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method
from metarl.tasks import over_tasks

DRAW = 10
"""Episodes drawn at a time. It is part of what a seed means, hence never changed to save memory."""
IMAGES = 4_000
"""Images classified at a time on a GPU, at most (but one episode at least)."""
USUAL = 600
"""Episodes that published accuracies rest on, at least."""
MEANING = {
    "joint": "batch norm by support and query together: transductive",
    "transductive": "batch norm by support and query, each by itself: transductive",
    "support": "batch norm by the support's moments",
    "running": "batch norm by averages of training batches",
    "one_query": "batch norm by the support with one query at a time",
    "none": "no batch norm",
}
"""What each normalisation mode is."""


@dataclass(frozen=True)
class Protocol:
    """The episodes that a method is judged on; equal protocols are equal episodes, whatever the method."""

    way: int
    """Classes."""
    shot: int
    """Support images of each."""
    query: int = 15
    """Query images of each."""
    episodes: int = 1_000
    """How many."""
    seed: int = 0
    """They follow from it."""

    def __post_init__(self):
        if self.episodes < 2:
            raise ValueError(f"episodes={self.episodes}, expected 2 or more: an interval needs them")


@dataclass(frozen=True)
class Judged:
    """What one normalisation mode came to."""

    accuracies: np.ndarray
    """Share of the queries that were classified right, shape (E,)."""
    loss: float
    """Mean loss."""


@dataclass(frozen=True)
class FewShotEvaluation:
    """Accuracies of a method on the same episodes, in one or more normalisation modes."""

    judged: Mapping[str, Judged]
    """By mode; the first is the method's own."""
    protocol: dict[str, Any]
    """Way, shot, query, episodes, seed, data, split, and which state of which method."""

    @property
    def accuracy(self) -> float:
        """Mean over episodes in the method's own mode, in [0, 1]."""
        return float(next(iter(self.judged.values())).accuracies.mean())

    @property
    def interval(self) -> float:
        """Half the width of its 95 % interval."""
        return interval(next(iter(self.judged.values())).accuracies)

    def summary(self) -> list[dict[str, Any]]:
        """A row for each mode: `statistics`, `accuracy` and `interval` in [0, 1], `loss`."""
        return [
            {
                "statistics": mode,
                "accuracy": float(each.accuracies.mean()),
                "interval": interval(each.accuracies),
                "loss": each.loss,
            }
            for mode, each in self.judged.items()
        ]

    def table(self) -> str:
        """What was judged, and a Markdown table with a row for each mode."""
        p = self.protocol
        head = (
            f"{p['method']} on {p['data']} ({p['split']}, {p['classes']:,} classes): {p['way']}-way {p['shot']}-shot, "
            f"{p['query']} queries of each class, {p['episodes']:,} episodes (seed {p['seed']})"
        )
        rows = [
            [row["statistics"], percent(row["accuracy"], row["interval"]), MEANING[row["statistics"]]]
            for row in self.summary()
        ]
        lines = [head, "", markdown_table(["normalisation", "accuracy, %", "meaning"], rows)]
        if p["episodes"] < USUAL:
            lines += ["", f"Published accuracies rest on {USUAL} episodes or more."]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        accuracies = {mode: np.round(each.accuracies, 6).tolist() for mode, each in self.judged.items()}
        return {"protocol": self.protocol, "summary": self.summary(), "accuracies": accuracies}


@torch.no_grad()
def judge(
    method: Method, store: ClassStore, protocol: Protocol, statistics: Sequence[Statistics]
) -> dict[str, Judged]:
    """Accuracy on each of a protocol's episodes; ranks share the work.

    Args:
        method: Its module's current parameters and averages.
        store: Classes that it was not trained on, on its device.
        protocol: Which episodes.
        statistics: Normalisation modes; each sees the same episodes.
    """
    sampler = EpisodeSampler(store, protocol.way, protocol.shot, protocol.query)
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    found = torch.zeros(
        len(statistics), 2, protocol.episodes, dtype=torch.float64, device=store.images.device
    )
    draws = range(math.ceil(protocol.episodes / DRAW))
    for number in draws[distributed.rank() :: distributed.world_size()]:
        start = number * DRAW
        size = min(DRAW, protocol.episodes - start)
        episodes = sampler.draw(DRAW, seeded(protocol.seed, number))
        episodes = pytree.tree_map(lambda each, size=size: each[:size], episodes)
        chunk = max(1, IMAGES // (protocol.way * (protocol.shot + protocol.query)))
        for place, mode in enumerate(statistics):
            task = _task(method, mode)
            losses, accuracies = over_tasks(task, chunk=chunk if store.images.is_cuda else None)(
                params, episodes
            )
            found[place, :, start : start + size] = torch.stack([losses.double(), accuracies.double()])
    values = distributed.sum_(found).cpu().numpy()
    return {mode: Judged(values[i, 1], float(values[i, 0].mean())) for i, mode in enumerate(statistics)}


def _task(method: Method, mode: Statistics) -> Any:
    def task(params: Mapping[str, Tensor], episode: Episode) -> tuple[Tensor, Tensor]:
        loss, scores = method.task(params, episode, mode)
        return loss, accuracy_of(scores, episode)

    return task


def accuracy_of(scores: Tensor, episode: Episode) -> Tensor:
    """Share of the queries whose highest score is their class's: (W Q, W) to a scalar."""
    return (scores.argmax(-1) == episode.query_labels).to(torch.float32).mean()


def interval(accuracies: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean, 1.96 s / sqrt(E), with s the sample standard deviation.

    It says how much other episodes would change the mean, not how much another training would.
    """
    return 1.96 * float(np.std(accuracies, ddof=1)) / math.sqrt(len(accuracies))


def percent(accuracy: float, margin: float) -> str:
    """An accuracy in [0, 1] with its interval, in per cent."""
    return f"{100 * accuracy:.2f} ± {100 * margin:.2f}"


def seeded(seed: int, number: int) -> torch.Generator:
    """The generator of the number-th draw of a protocol with a seed."""
    state = np.random.SeedSequence([seed, number, 0x65766C]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))
