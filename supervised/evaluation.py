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
from metarl.supervised.known_features import KnownFeatures, Watch, embed_known, known_features
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embedding_by
from metarl.tasks import over_tasks

DRAW = 10
"""Episodes drawn at a time. It is part of what a seed means, hence never changed to save memory."""
IMAGES = 4_000
"""Images classified at a time on a GPU, at most (but one episode at least)."""
WORTH = 2
"""How many times as many images as a store has must be shown for finding the features of all of them at once."""
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
    method: Method,
    store: ClassStore,
    protocol: Protocol,
    statistics: Sequence[Statistics],
    known: list[KnownFeatures] | None = None,
) -> dict[str, Judged]:
    """Accuracy on each of a protocol's episodes; ranks share the work.

    Args:
        method: Its module's current parameters and averages.
        store: Classes that it was not trained on, on its device.
        protocol: Which episodes.
        statistics: Normalisation modes; each sees the same episodes.
        known: Features of the store's pictures that the same parameters gave before, if any; what is found is added.
    """
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    found = torch.zeros(
        len(statistics), 2, protocol.episodes, dtype=torch.float64, device=store.images.device
    )
    draws = range(math.ceil(protocol.episodes / DRAW))
    mine = draws[distributed.rank() :: distributed.world_size()]
    for place, mode in enumerate(statistics):
        classify = _Classify(method, store, protocol, mode, params, [] if known is None else known)
        for number in mine:
            start = number * DRAW
            results = classify(number, min(DRAW, protocol.episodes - start))
            found[place, :, start : start + DRAW] = results
    values = distributed.sum_(found).cpu().numpy()
    return {mode: Judged(values[i, 1], float(values[i, 0].mean())) for i, mode in enumerate(statistics)}


class _Classify:
    """Loss and accuracy of the episodes of a draw in one mode.

    Episodes of the first draw show whether features depend on anything but their picture. If not, and if that saves
    work, those of all pictures are found once, and the rest of the episodes consist of features.
    """

    def __init__(
        self,
        method: Method,
        store: ClassStore,
        protocol: Protocol,
        mode: Statistics,
        params: Params,
        known: list[KnownFeatures],
    ):
        self.method, self.store, self.protocol, self.mode, self.params = method, store, protocol, mode, params
        episode = protocol.way * (protocol.shot + protocol.query)
        shown = protocol.episodes * episode / distributed.world_size()
        worth = shown > WORTH * len(store) * store.rotations
        self._watched = method.embeds and mode == "running" and worth
        self._known = known
        self._chunk = max(1, IMAGES // episode) if store.images.is_cuda else None

    def __call__(self, number: int, size: int) -> Tensor:
        """Of the first `size` episodes of a draw, shape (2, size)."""
        if not self._watched:
            return self._results(self.store, number, size)
        if self._known:
            with embedding_by(embed_known):
                return self._results(self._known[0], number, size)
        watch = Watch()
        with embedding_by(watch):
            results = self._results(self.store, number, size)
        found = known_features(watch.net, self.store) if watch.net is not None and watch.fixed else None
        self._watched = found is not None
        self._known += [] if found is None else [found]
        return results

    def _results(self, store: ClassStore, number: int, size: int) -> Tensor:
        sampler = EpisodeSampler(store, self.protocol.way, self.protocol.shot, self.protocol.query)
        episodes = sampler.draw(DRAW, seeded(self.protocol.seed, number))
        episodes = pytree.tree_map(lambda each: each[:size], episodes)
        losses, accuracies = over_tasks(self._task, chunk=self._chunk)(self.params, episodes)
        return torch.stack([losses.double(), accuracies.double()])

    def _task(self, params: Params, episode: Episode) -> tuple[Tensor, Tensor]:
        loss, scores = self.method.task(params, episode, self.mode)
        return loss, accuracy_of(scores, episode)


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
