"""How well a few-shot method does on test tasks: mean accuracy (of a regression: squared error) and its interval.

Legend: E episodes, W ways, Q queries of each class.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl import distributed
from metarl.configs import refuse_below
from metarl.supervised.known_features import KnownFeatures, Watch, embed_known, known_features
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embedding_by
from metarl.supervised.task_kinds import (
    ACCURACY,
    Measure,
    Store,
    measure_of,
    sampler_of,
)
from metarl.tables import markdown_table
from metarl.tasks import over_tasks

__all__ = ["FewShotEvaluation", "Judged", "Protocol", "interval", "judge", "percent", "seeded"]

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
        refuse_below({"way": 1, "shot": 1, "query": 1, "seed": 0}, vars(self))
        if self.episodes < 2:
            raise ValueError(f"episodes={self.episodes}, expected 2 or more: an interval needs them")


@dataclass(frozen=True)
class Judged:
    """What one normalisation mode came to."""

    values: np.ndarray
    """What each episode came to, shape (E,): the share of the queries that were classified right, in most cases."""
    loss: float
    """Mean loss."""
    measure: Measure = ACCURACY
    """What the values are."""
    steps: int | None = None
    """Inner steps, where they were asked for."""

    @property
    def accuracies(self) -> np.ndarray:
        """The values, which must be accuracies.

        Raises:
            ValueError: They are something else.
        """
        if self.measure is not ACCURACY:
            raise ValueError(f"a regression has no accuracy; its {self.measure.name} lies in `values`")
        return self.values


@dataclass(frozen=True)
class FewShotEvaluation:
    """What a method came to on the same episodes, in one or more normalisation modes."""

    judged: Mapping[str, Judged]
    """By mode, and by the number of inner steps where that was asked for; the first is the method's own."""
    protocol: dict[str, Any]
    """Way, shot, query, episodes, seed, data, split, and which state of which method."""
    file: Path | None = None
    """Where it was written, if it could be."""

    @property
    def first(self) -> Judged:
        """What the method's own mode came to."""
        return next(iter(self.judged.values()))

    @property
    def accuracy(self) -> float:
        """Mean over episodes in the method's own mode, in [0, 1]."""
        return float(self.first.accuracies.mean())

    @property
    def mean(self) -> float:
        """The same of whatever the tasks are judged by: accuracy, or mean squared error."""
        return float(self.first.values.mean())

    @property
    def interval(self) -> float:
        """Half the width of its 95 % interval."""
        return interval(self.first.values)

    def summary(self) -> list[dict[str, Any]]:
        """A row for each result.

        It has `statistics` (the mode), `steps` where they were asked for, `accuracy` in [0, 1] (of a regression `mse`)
        and `interval`, and `loss`.
        """
        return [
            {
                "statistics": _mode(name),
                **({} if each.steps is None else {"steps": each.steps}),
                each.measure.name: float(each.values.mean()),
                "interval": interval(each.values),
                "loss": each.loss,
            }
            for name, each in self.judged.items()
        ]

    def table(self) -> str:
        """What was judged, and a Markdown table with a row for each mode."""
        p, measure = self.protocol, self.first.measure
        images = measure is ACCURACY
        head = f"{p['method']} on {p['data']} ({p['split']}" + (
            f", {p['classes']:,} classes" if images else ""
        )
        if images:
            head += f"): {p['way']}-way {p['shot']}-shot, {p['query']} queries of each class, "
        else:
            head += f"): {p['shot']} support and {p['query']} query points, "
        together = f", {len(p['steps'])} states together" if p.get("state") == "ensemble" else ""
        lines = [f"{head}{p['episodes']:,} episodes (seed {p['seed']}){together}", ""]
        value = percent if images else _plain
        rows = [
            [
                row["statistics"],
                *([str(row["steps"])] if "steps" in row else []),
                value(row[measure.name], row["interval"]),
                MEANING[row["statistics"]],
            ]
            for row in self.summary()
        ]
        steps = ["inner steps"] if self.first.steps is not None else []
        heads = ["normalisation", *steps, "accuracy, %" if images else "mean squared error", "meaning"]
        lines += [markdown_table(heads, rows)]
        if p["episodes"] < USUAL:
            lines += ["", f"Published figures rest on {USUAL} episodes or more."]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        values = {name: np.round(each.values, 6).tolist() for name, each in self.judged.items()}
        many = "accuracies" if self.first.measure is ACCURACY else "squared_errors"
        return {"protocol": self.protocol, "summary": self.summary(), many: values}


def _mode(name: str) -> str:
    """The normalisation mode in the name of a result."""
    return name.partition(",")[0]


@torch.no_grad()
def judge(
    method: Method,
    store: Store,
    protocol: Protocol,
    statistics: Sequence[Statistics],
    known: list[KnownFeatures] | None = None,
    tell: Callable[[int], None] | None = None,
) -> dict[str, Judged]:
    """Accuracy (of a regression: squared error) on each of a protocol's episodes; ranks share the work.

    Args:
        method: Its module's current parameters and averages.
        store: Classes that it was not trained on, on its device; or functions.
        protocol: Which episodes.
        statistics: Normalisation modes; each sees the same episodes.
        known: Features of the store's pictures that the same parameters gave before, if any; what is found is added.
        tell: Called now and then with how many episodes were judged since the last call, on each rank.
    """
    measure = measure_of(store)
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    found = torch.zeros(len(statistics), 2, protocol.episodes, dtype=torch.float64, device=store.device)
    draws = range(math.ceil(protocol.episodes / DRAW))
    mine = draws[distributed.rank() :: distributed.world_size()]
    for place, mode in enumerate(statistics):
        classify = _Classify(method, store, protocol, mode, params, [] if known is None else known)
        for number in mine:
            start = number * DRAW
            results = classify(number, min(DRAW, protocol.episodes - start))
            found[place, :, start : start + DRAW] = results
            if tell is not None:
                tell(results.shape[1])
    values = distributed.sum_(found).cpu().numpy()
    return {
        mode: Judged(values[i, 1], float(values[i, 0].mean()), measure) for i, mode in enumerate(statistics)
    }


class _Classify:
    """Loss and accuracy (or squared error) of the tasks of a draw in one mode.

    Episodes of the first draw show whether features depend on anything but their picture. If not, and if that saves
    work, those of all pictures are found once, and the rest of the episodes consist of features.
    """

    def __init__(
        self,
        method: Method,
        store: Store,
        protocol: Protocol,
        mode: Statistics,
        params: Params,
        known: list[KnownFeatures],
    ):
        self.method, self.store, self.protocol, self.mode, self.params = method, store, protocol, mode, params
        episode = protocol.way * (protocol.shot + protocol.query)
        shown = protocol.episodes * episode / distributed.world_size()
        self._watched = method.embeds and mode == "running" and shown > WORTH * len(store) * store.rotations
        self._known = known
        self._chunk = max(1, IMAGES // episode) if store.device.type == "cuda" else None
        self._measure = measure_of(store)

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

    def _results(self, store: Store, number: int, size: int) -> Tensor:
        sampler = sampler_of(store, self.protocol.way, self.protocol.shot, self.protocol.query)
        episodes = sampler.draw(DRAW, seeded(self.protocol.seed, number))
        episodes = pytree.tree_map(lambda each: each[:size], episodes)
        losses, values = over_tasks(self._task, chunk=self._chunk)(self.params, episodes)
        return torch.stack([losses.double(), values.double()])

    def _task(self, params: Params, episode: Any) -> tuple[Tensor, Tensor]:
        loss, scores = self.method.tested(params, episode, self.mode)
        return loss, self._measure.of(scores, episode)


def interval(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean, 1.96 s / sqrt(E), with s the sample standard deviation.

    It says how much other episodes would change the mean, not how much another training would.
    """
    return 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def percent(accuracy: float, margin: float) -> str:
    """An accuracy in [0, 1] with its interval, in per cent."""
    return f"{100 * accuracy:.2f} ± {100 * margin:.2f}"


def _plain(value: float, margin: float) -> str:
    """A figure with its interval."""
    return f"{value:.3f} ± {margin:.3f}"


def seeded(seed: int, number: int) -> torch.Generator:
    """The generator of the number-th draw of a protocol with a seed."""
    state = np.random.SeedSequence([seed, number, 0x65766C]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))
