"""A benchmark's results as Markdown, with published numbers beside them."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from statistics import mean, stdev
from typing import Any

from metarl.configs import read_json
from metarl.supervised.evaluation import MEANING
from metarl.supervised.methods.config import TRANSDUCTIVE
from metarl.tables import markdown_table

Result = Mapping[str, Any]


@cache
def published() -> dict[str, list[dict[str, Any]]]:
    """Accuracies in per cent that papers (or the code that belongs to them) report, by method.

    Each entry has `data`, `source`, `protocol`, `transductive` (null: the source was not checked for it) and
    `accuracy`, by setting (5w1s ..), with the half width of the interval where one is given.
    """
    return read_json(str(files("metarl.supervised") / "published.json"))


def published_for(method: str, data: str, transductive: bool, own: bool) -> dict[str, Any] | None:
    """What is published of a method on a data set, to stand beside a row of the table.

    Args:
        method: Its name.
        data: Name of the data set.
        transductive: Whether the row's normalisation is; a number of the same kind is preferred.
        own: Whether the row is in the method's own mode: then a number of another kind will do.
    """
    entries = [each for each in published().get(method, []) if each["data"] == data]
    alike = [each for each in entries if each["transductive"] is transductive]
    return (alike or (entries if own else []) or [None])[0]


def markdown(data: str, budget: str, results: Sequence[Result]) -> str:
    """The table, what its columns mean, where the published numbers come from, and what failed.

    Args:
        data: Name of the data set.
        budget: How long was trained.
        results: One for each method, setting and seed; see `metarl.supervised.benchmark`.
    """
    whole = [each for each in results if "summary" in each]
    settings = sorted({each["setting"] for each in whole}, key=lambda name: (len(name), name))
    lines = [f"# Few-shot benchmark: {data}, budget {budget}", ""]
    rows, sources, seen = [], [], []
    for method in dict.fromkeys(each["method"] for each in whole):
        modes = dict.fromkeys(
            row["statistics"] for each in whole if each["method"] == method for row in each["summary"]
        )
        for place, mode in enumerate(modes):
            beside = published_for(method, data, mode in TRANSDUCTIVE, own=place == 0)
            rows.append([method, mode, *_cells(whole, method, mode, settings, beside)])
            seen.append(mode)
            if beside is not None:
                sources.append(f"- {method}: {beside['source']}; {beside['protocol']}{_kind(beside)}")
    heads = [head for setting in settings for head in (setting, "published")]
    lines += [
        markdown_table(["method", "normalisation", *heads], rows) if rows else "Nothing is done yet.",
        "",
    ]
    lines += _notes(whole, list(dict.fromkeys(seen)))
    if sources:
        lines += ["Published numbers, by the protocols of their authors:", "", *dict.fromkeys(sources), ""]
    failed = [each for each in results if "error" in each]
    if failed:
        lines += ["Failed:", ""]
        lines += [
            f"- {each['method']} {each['setting']}, seed {each['seed']}: {each['error']}" for each in failed
        ]
        lines += [""]
    return "\n".join(lines)


def _cells(
    results: Sequence[Result],
    method: str,
    mode: str,
    settings: Sequence[str],
    beside: Mapping[str, Any] | None,
) -> list[str]:
    cells = []
    for setting in settings:
        found = [
            row
            for each in results
            if (each["method"], each["setting"]) == (method, setting)
            for row in each["summary"]
            if row["statistics"] == mode
        ]
        there = beside["accuracy"].get(setting) if beside is not None else None
        cells += [accuracy_cell(found), published_cell(there)]
    return cells


def accuracy_cell(rows: Sequence[Mapping[str, float]]) -> str:
    """Mean over trainings, in per cent, with the interval of the test episodes; of several, their deviation too."""
    if not rows:
        return "–"
    accuracies = [100 * row["accuracy"] for row in rows]
    margin = 100 * math.sqrt(mean(row["interval"] ** 2 for row in rows))
    spread = f" (sd {stdev(accuracies):.2f})" if len(rows) > 1 else ""
    return f"{mean(accuracies):.2f} ± {margin:.2f}{spread}"


def published_cell(entry: Mapping[str, float | None] | None) -> str:
    """A published accuracy, in per cent."""
    if entry is None:
        return "–"
    margin = f" ± {entry['interval']:.2f}" if entry["interval"] is not None else ""
    return f"{entry['accuracy']:.2f}{margin}"


def _kind(entry: Mapping[str, Any]) -> str:
    return {True: " (transductive)", False: "", None: ""}[entry["transductive"]]


def _notes(results: Sequence[Result], modes: Sequence[str]) -> list[str]:
    if not results:
        return []
    episodes = sorted({each["test_episodes"] for each in results})
    seeds = sorted({each["seed"] for each in results})
    updates = [_updates(results, method) for method in dict.fromkeys(each["method"] for each in results)]
    lines = [
        "Accuracy in per cent, mean and 95 % interval over test episodes (1.96 s / sqrt(E)) of the state with the best "
        f"validation accuracy; E = {', '.join(map(str, episodes))} episodes, the same for all methods; training seeds "
        f"{', '.join(map(str, seeds))}.",
        "",
        f"Updates: {'; '.join(updates)}.",
        "",
    ]
    return [*lines, *(f"- {mode}: {MEANING[mode]}" for mode in modes), ""]


def _updates(results: Sequence[Result], method: str) -> str:
    """How many updates a method had; by setting where they differ."""
    found: dict[str, set[int]] = {}
    for each in results:
        if each["method"] == method:
            found.setdefault(each["setting"], set()).add(each["updates"])
    said = {name: " or ".join(f"{number:,}" for number in sorted(numbers)) for name, numbers in found.items()}
    if len(set(said.values())) == 1:
        return f"{method} {next(iter(said.values()))}"
    return f"{method} {', '.join(f'{number} at {name}' for name, number in sorted(said.items()))}"
