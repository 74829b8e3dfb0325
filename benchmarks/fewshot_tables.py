"""Tables of few-shot accuracy, and of MLAP's certificates."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from origin import machine, pretrained_by, source

from metarl.supervised.benchmark_table import published, published_for
from metarl.supervised.methods.config import TRANSDUCTIVE
from metarl.tables import markdown_table


def mlap(found: list[Mapping[str, Any]]) -> str:
    """Errors on new tasks beside what was certified: means over the new tasks."""
    (only,) = found
    rows = []
    for row in only["rows"]:
        shares = [
            f"{100 * np.mean(row[key]):.1f}" if key in row else ""
            for key in ("error", "gibbs_error", "bound")
        ]
        rows.append([row["environment"], row["method"], row["tasks"], *shares])
    heads = ["tasks with", "method", "training tasks", "error, %", "of drawn weights, %", "certified, %"]
    return markdown_table(heads, rows) + source(only)


def sine_waves(found: list[Mapping[str, Any]]) -> str:
    """Mean squared errors on new waves, by the preset and by other step sizes; and plain descent beside the LSTM."""
    (only,) = found
    of = {(row["method"], row["lr"]): row for row in only["rows"]}
    usual = {row["method"]: row for row in only["rows"] if row["preset"]}
    swept = [name for name in usual if sum(method == name for method, _ in of) > 1]
    rates = sorted({lr for method, lr in of if method in swept})
    rows = []
    for name, row in usual.items():
        others = [of.get((name, lr)) if name in swept else None for lr in rates]
        rows.append([name, row["steps"], *map(_errors, [row, *others])])
    heads = ["method", "inner steps", "error", *(f"step size {lr:g}" for lr in rates)]
    parts = [markdown_table(heads, rows)]
    if "meta-lstm" in usual and "descent" in usual["meta-lstm"]:
        steps, errors = usual["meta-lstm"]["steps"], dict(usual["meta-lstm"]["descent"])
        own = errors.pop("method")
        best = min(errors, key=errors.get)
        parts.append(
            f"From the start that `meta-lstm` learned, {steps} steps of it lead to {own:.3f}, {steps} of gradient "
            f"descent to {errors[best]:.3f} with the best step size tried ({best})."
        )
    return "\n\n".join(parts) + source(only)


def feature_reuse(found: list[Mapping[str, Any]]) -> str:
    """Accuracy with blocks frozen in the inner loop, and how alike a layer's outputs are before and after it."""
    (only,) = found
    accuracies, likeness = [], []
    for row in only["rows"]:
        about = [row["data"], row["method"], row["kind"]]
        shown = [_mean(100 * np.array(each), 1) for each in (*row["frozen"], row["nil"])]
        accuracies.append([*about, row["steps"], *shown])
        likeness.append([*about, *(f"{each:.2f}" for each in row["alike"])])
    about = ["data", "method", "episodes"]
    frozen = ["none", "1", "1 to 2", "1 to 3", "1 to 4"]
    blocks = [f"block {number}" for number in range(1, 5)]
    first = markdown_table(
        [*about, "inner steps", *(f"frozen: {each}" for each in frozen), "NIL"], accuracies
    )
    return f"{first}\n\n{markdown_table([*about, *blocks, 'scores'], likeness)}" + source(only)


def maml_plus_plus(found: list[Mapping[str, Any]]) -> str:
    """Accuracy of short trainings with each part of MAML++: the seeds' mean, and each seed's."""
    (only,) = found
    names = list(dict.fromkeys(row["row"] for row in only["rows"]))
    modes = list(dict.fromkeys(mode for row in only["rows"] for mode in row.get("accuracies", ())))
    rows = []
    for name in names:
        runs = [row for row in only["rows"] if row["row"] == name]
        minutes = np.mean([run["minutes"] for run in runs if "minutes" in run] or [np.nan])
        rows.append([name, *(_of_seeds(runs, mode) for mode in modes), f"{minutes:.1f}"])
    heads = ["switched on", *(f"{mode}, %" for mode in modes), "minutes"]
    return markdown_table(heads, rows) + source(only)


def _of_seeds(runs: list[Mapping[str, Any]], mode: str) -> str:
    """Mean of some trainings, then each one's."""
    means = [100 * np.mean(run["accuracies"][mode]) if "accuracies" in run else None for run in runs]
    each = ", ".join("diverged" if mean is None else f"{mean:.1f}" for mean in means)
    whole = [mean for mean in means if mean is not None]
    return f"{np.mean(whole):.1f} ({each})" if len(whole) > 1 else each


def _errors(row: Mapping[str, Any] | None) -> str:
    """Mean and half its interval; nothing where nothing was measured."""
    if row is None:
        return ""
    if "mse" not in row:
        return "diverged"
    return _mean(np.array(row["mse"]), 3)


def fewshot(found: list[Mapping[str, Any]]) -> str:
    """Accuracy of each run on test episodes, in the method's own normalisation mode first, and half its 95 % interval.

    What is published stands in brackets, where possible beside a mode of the same kind, and where it comes from below.
    """
    rows, commands, sources = [], [], []
    kinds = sorted(
        {row["kind"] for each in found for run in each["runs"] for row in run["rows"]}, key=_by_way
    )
    for run in sorted((run for each in found for run in each["runs"]), key=_by_data_and_method):
        experiment = run["config"]["experiment"]
        data, aim = experiment["data"], f"{experiment['way']}w{experiment['shot']}s"
        modes = list(run["rows"][0]["accuracies"])
        known = {each["transductive"] for each in published().get(run["method"], []) if each["data"] == data}
        alike = len({mode in TRANSDUCTIVE for mode in modes}) == 1 or known == {None}
        for mode in modes:
            own = alike and mode == modes[0]
            beside = published_for(run["method"], data, mode in TRANSDUCTIVE, own)
            cells = {row["kind"]: _accuracies(row["accuracies"][mode]) for row in run["rows"]}
            if beside is not None:
                kind = " (transductive)" if beside["transductive"] else ""
                sources.append(f"- {run['method']}: {beside['source']}; {beside['protocol']}{kind}")
                for name, other in beside["accuracy"].items():
                    cells[name] = f"{cells[name]} ({other['accuracy']})" if name in cells else ""
            about = [data, run["method"], pretrained_by(run) or "", aim, mode]
            rows.append([*about, *(cells.get(kind, "") for kind in kinds), run["seed"]])
        commands.append("- " + "; then ".join(map(_training, [*run.get("before", ()), run])))
    heads = ["data", "method", "pre-trained by", "chosen by", "normalised by", *kinds, "seed"]
    parts = [markdown_table(heads, rows), "\n".join(commands)]
    if sources:
        parts.append("Published numbers:\n\n" + "\n".join(dict.fromkeys(sources)))
    return "\n\n".join(parts)


def _by_way(kind: str) -> tuple[int, str]:
    """Ways first, then shots; what is no such setting comes last."""
    return len(kind), kind


def _by_data_and_method(run: Mapping[str, Any]) -> tuple[str, str]:
    return run["config"]["experiment"]["data"], run["method"]


def _training(run: Mapping[str, Any]) -> str:
    """How a run was trained, how long, and on what."""
    return f"`{run['training']}`{_longer(run)}, {run['minutes']:.0f} min, {_commits(run)}"


def _longer(run: Mapping[str, Any]) -> str:
    """For how many episodes a run was trained, where that is not what its command says."""
    episodes, asked = run.get("episodes"), re.search(r"--episodes (\d+)", run["training"])
    if episodes is None or asked is None or episodes == int(asked[1]):
        return ""
    return f" and `--resume`, {episodes:,} episodes in all"


def _commits(run: Mapping[str, Any]) -> str:
    return machine(run, ", ".join(dict.fromkeys(each["commit"][:9] for each in run["git"])))


def _accuracies(found: list[float]) -> str:
    """Mean and half its interval, in percent."""
    return _mean(100 * np.array(found), 1)


def _mean(values: np.ndarray, decimals: int) -> str:
    """Mean and half its interval."""
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.{decimals}f} ± {half:.{decimals}f}"
