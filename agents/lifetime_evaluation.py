"""How well agents keep up: the return of every episode of a lifetime, by method and by what changes.

Legend: G groups of lifetimes (e.g. the pair of legs that fails), L lifetimes of each, E episodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metarl.configs import differences, read_json
from metarl.names import unknown
from metarl.statistics import stratified_means
from metarl.tables import markdown_table

ALL = "all"
"""The group of all lifetimes together."""


@dataclass(frozen=True)
class LifetimeEvaluation:
    """Returns of lived lifetimes, each started from the trained parameters."""

    scores: dict[str, np.ndarray]
    """Undiscounted return by label (agent, and how it lived): shape (G, L, E)."""
    groups: list[str]
    """What the lifetimes of a group have in common, e.g. "legs 1 2: back"; `["all"]` if they were drawn."""
    protocol: dict[str, Any]
    """Agent, world, split, its hash and whether its tasks were kept apart from training, schedule, seed, environment
    steps trained, config."""
    measures: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """Further numbers by label and name, e.g. `speed` in m/s: shape (G, L, E)."""

    def summary(self, of: str = "return") -> list[dict[str, Any]]:
        """One row per method, group and episode; see `summary`."""
        return summary([self], of)

    def table(self, of: str = "return") -> str:
        """The summary as Markdown: a table for each group, a row per method, a column per episode."""
        return table(self.summary(of))

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`; what is no number becomes None."""
        return {
            "protocol": self.protocol,
            "groups": self.groups,
            "summary": self.summary(),
            "scores": {label: _plain(values) for label, values in self.scores.items()},
            "measures": {
                label: {name: _plain(values) for name, values in each.items()}
                for label, each in self.measures.items()
            },
        }


def read(path: str | Path) -> LifetimeEvaluation:
    """An evaluation from the `lifetimes.json` that it was written to.

    Raises:
        ValueError: The file is not there, or something else.
    """
    stored = read_json(Path(path))
    if not isinstance(stored, dict) or not {"protocol", "groups", "scores"} <= stored.keys():
        raise ValueError(f"{path} is no evaluation of lifetimes: it has no protocol, groups and scores")
    return of_json(stored)


def of_json(stored: Mapping[str, Any]) -> LifetimeEvaluation:
    """An evaluation from what `to_json` gave."""
    return LifetimeEvaluation(
        {label: _array(values) for label, values in stored["scores"].items()},
        stored["groups"],
        stored["protocol"],
        {
            label: {name: _array(values) for name, values in each.items()}
            for label, each in stored.get("measures", {}).items()
        },
    )


def summary(evaluations: Sequence[LifetimeEvaluation], of: str = "return") -> list[dict[str, Any]]:
    """The mean of each method in each episode, with its interval.

    Runs of one agent that differ in nothing but the seed are pooled. Groups and runs count alike, and are the
    strata within which the bootstrap draws whole lifetimes anew.

    Args:
        evaluations: Of one run each, in one world, of the same lifetimes.
        of: `return`, or the name of a measure; methods that have it not are left out.

    Returns:
        Dicts with `method`, `group` (or "all", where there are none or several), `episode` (from 1), `mean`, `low` and
        `high` (95 % interval), and `lifetimes`, how many there are of each group and run.

    Raises:
        ValueError: The evaluations cannot be compared, or nobody has that measure.
    """
    groups = _check_comparable(evaluations)
    pooled: dict[str, list[np.ndarray]] = {}
    for evaluation, suffix in zip(evaluations, _differences(evaluations), strict=True):
        for label in evaluation.scores:
            measures = {"return": evaluation.scores[label], **evaluation.measures.get(label, {})}
            if of in measures:
                agent, comma, method = label.partition(", ")
                pooled.setdefault(f"{agent}{suffix}{comma}{method}", []).append(measures[of])
    if not pooled:
        known = {name for each in evaluations for found in each.measures.values() for name in found}
        raise unknown("measure", of, ["return", *sorted(known)])
    parts = [(group, slice(i, i + 1)) for i, group in enumerate(groups) if group != ALL]
    if len(parts) != 1:
        parts += [(ALL, slice(None))]
    rows = []
    for method, runs in pooled.items():
        lifetimes = runs[0].shape[1]
        for group, chosen in parts:
            mean, low, high = stratified_means(np.concatenate([run[chosen] for run in runs]))
            rows += [
                {
                    "method": method,
                    "group": group,
                    "episode": e + 1,
                    **_floats(mean[e], low[e], high[e]),
                    "lifetimes": lifetimes,
                }
                for e in range(len(mean))
            ]
    return rows


def table(rows: Sequence[Mapping[str, Any]], unit: str = "episode") -> str:
    """Rows of `summary` as Markdown: for each group a table with a row per method and a column per episode.

    Args:
        rows: Of `summary`.
        unit: What the columns are.
    """
    groups, decimals = dict.fromkeys(row["group"] for row in rows), _decimals(rows)
    texts = []
    for group in groups:
        cells: dict[str, list[str]] = {}
        for row in rows:
            if row["group"] == group:
                cells.setdefault(row["method"], []).append(_cell(row, decimals))
        episodes = max(map(len, cells.values()))
        numbers = [f"{unit} 1", *map(str, range(2, episodes + 1))] if episodes > 1 else [unit]
        text = markdown_table(["method", *numbers], [[method, *each] for method, each in cells.items()])
        texts.append(text if list(groups) == [ALL] else f"**{group}**\n\n{text}")
    return "\n\n".join(texts)


def _check_comparable(evaluations: Sequence[LifetimeEvaluation]) -> list[str]:
    if not evaluations:
        raise ValueError("there are no evaluations to summarise")
    first = evaluations[0]
    for each in evaluations[1:]:
        for what in ("world", "world_options", "split", "split_hash", "schedule"):
            one, other = first.protocol.get(what), each.protocol.get(what)
            if what == "world_options" and None in (one, other):
                continue  # an evaluation of before they were noted
            if one != other:
                raise ValueError(f"evaluations of different {what} cannot be compared: {one!r} and {other!r}")
        if first.groups != each.groups:
            raise ValueError(f"evaluations of different groups: {first.groups} and {each.groups}")
        if _shape(first) != _shape(each):
            raise ValueError(
                f"evaluations of different numbers of lifetimes: {_shape(first)}, {_shape(each)}"
            )
    return first.groups


def _shape(evaluation: LifetimeEvaluation) -> tuple[int, ...]:
    return next(iter(evaluation.scores.values())).shape


def _differences(evaluations: Sequence[LifetimeEvaluation]) -> list[str]:
    """For each evaluation the settings in which it differs from others of the same agent, e.g. ` (inner.lr 0.1)`."""
    agents = [each.protocol.get("agent") for each in evaluations]
    configs = [each.protocol.get("config") or {} for each in evaluations]
    return [f" ({text})" if text else "" for text in differences(configs, agents)]


def _decimals(rows: Sequence[Mapping[str, Any]]) -> int:
    """As many as the widest interval deserves."""
    width = max((row["high"] - row["low"] for row in rows if row["mean"] is not None), default=0.0)
    return 0 if width >= 5 else 1 if width >= 0.5 else 2 if width >= 0.05 else 3


def _cell(row: Mapping[str, Any], decimals: int) -> str:
    """Mean and interval; one lifetime has none."""
    if row["mean"] is None:
        return "-"
    mean, low, high = (f"{round(row[key], decimals) + 0.0:.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [-]" if row.get("lifetimes") == 1 else f"{mean} [{low}, {high}]"


def _floats(mean: float, low: float, high: float) -> dict[str, float | None]:
    found = {"mean": mean, "low": low, "high": high}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def _plain(values: np.ndarray) -> list:
    return np.where(np.isfinite(values), values, None).tolist()


def _array(values: list) -> np.ndarray:
    return np.array(values, dtype=float)
