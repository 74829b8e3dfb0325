"""Tables and pictures of what agents learn, and how they adapt over lifetimes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from origin import machine, source

from metarl.agents.games import by_quarters, episodes_per_round
from metarl.agents.lifetime_evaluation import ALL, LifetimeEvaluation, of_json, summary
from metarl.agents.lifetime_evaluation import table as lifetimes_table
from metarl.plots import draw_curves, summarised
from metarl.statistics import interquartile_mean, stratified_bootstrap
from metarl.tables import markdown_table
from metarl.videos import task_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
RETURNS = {"adapt/return_0": "return before adaptation", "rollout/ep_rew_mean": "return after adaptation"}
"""Tags of a learning curve, and what the picture calls them."""
LATE = 3
"""The last episodes of a lifetime, whose mean is given too."""


def learning(found: list[Mapping[str, Any]]) -> str:
    """Return before and after inner steps of every learning experiment, per task where all seeds had the same few.

    A cell is the interquartile mean with its 95 % stratified bootstrap interval over seeds.
    """
    rows, commands = [], []
    for each in found:
        runs = each["runs"]
        agent, world = _agent_and_world(each["command"])
        minutes = np.mean([run["minutes"] for run in runs])
        cost = f"{max(run['steps'] for run in runs):,.0f} steps, {minutes:.0f} min"
        for task, cells in _by_task(runs):
            shown = [*cells, "", "", ""][:4]
            rows.append([world, agent, task, *shown, len(runs), cost])
        commits = sorted({run["git"][0]["commit"][:9] for run in runs if run.get("git")})
        commands.append(f"- `{each['command']} --seed N`, {machine(runs[0], ', '.join(commits))}")
    heads = ["world", "agent", "task", "before", "after 1", "after 2", "after 3", "seeds", "a seed costs"]
    return markdown_table(heads, rows) + "\n\n" + "\n".join(commands)


def _agent_and_world(command: str) -> tuple[str, str]:
    words = command.split()
    return words[words.index("train") + 1], words[words.index("--world") + 1].removeprefix("metarl/")


def _by_task(runs: list[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Cells for each task (if few and shared) and over all tasks; a seed's repeats are averaged first."""
    scores = np.stack([np.mean(run["scores"], axis=0) for run in runs])  # (seeds, tasks, inner steps + 1)
    tasks = [run["tasks"] for run in runs]
    groups = [("all", scores)]
    if len(tasks[0]) <= 4 and all(each == tasks[0] for each in tasks):
        groups = [(task_text(task), scores[:, i : i + 1]) for i, task in enumerate(tasks[0])] + groups
    return [(name, [_cell(part[..., step]) for step in range(scores.shape[-1])]) for name, part in groups]


def _cell(scores: np.ndarray) -> str:
    low, high = stratified_bootstrap(scores, interquartile_mean)
    return f"{float(interquartile_mean(scores)):.1f} [{low:.1f}, {high:.1f}]"


def lifetimes(found: list[Mapping[str, Any]]) -> str:
    """Returns by episode, or of games the share of rounds won by quarters, for each world; and how all was trained."""
    (only,) = found
    texts, commands = [], []
    for title, each in only["comparisons"].items():
        seeds = sorted({run["seed"] for run in each["runs"]})
        texts.append(f"**{title}**, seeds {', '.join(map(str, seeds))}\n\n{lived(each['runs'])}")
        names = dict.fromkeys(run["agent"] for run in each["runs"])
        commands += [f"- {name}: `{text}`" for name, text in _trainings(each["stages"], names)]
    return "\n\n".join([*texts, "\n".join(dict.fromkeys(commands))]) + source(only)


def _trainings(stages: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """How some stages were trained, and all that they start from: the flags of `metarl train`, in order."""
    needed = set(names)
    for name in reversed(stages):
        if name in needed:
            needed.add(stages[name]["after"])
    return [
        (name, stage["flags"] + (f" --start-from {stage['after']}" if stage["after"] else ""))
        for name, stage in stages.items()
        if name in needed
    ]


def lived(runs: list[Mapping[str, Any]]) -> str:
    """Returns by episode; of games the share of rounds won by quarters, for each number of episodes per round."""
    kinds: dict[int | None, list[LifetimeEvaluation]] = {}
    for run in runs:
        evaluation = of_json(run)
        per_round = episodes_per_round(evaluation.protocol.get("schedule"))
        if per_round is not None:
            evaluation = by_quarters(evaluation, per_round)
        kinds.setdefault(per_round, []).append(evaluation)
    texts = []
    for per_round, evaluations in sorted(kinds.items()):
        heading = "" if per_round is None else f"{per_round} episodes per round\n\n"
        unit = "episode" if per_round is None else "quarter of the game"
        texts.append(heading + lifetimes_table(summary(evaluations), unit))
        if per_round is None and min(_episodes(each) for each in evaluations) > LATE:
            late = [row for row in summary(_late(evaluations)) if row["group"] == ALL]
            texts.append(lifetimes_table(late, f"mean of the last {LATE} episodes"))
    return "\n\n".join(texts)


def _episodes(evaluation: LifetimeEvaluation) -> int:
    """Of a lifetime."""
    return next(iter(evaluation.scores.values())).shape[-1]


def _late(evaluations: list[LifetimeEvaluation]) -> list[LifetimeEvaluation]:
    """Mean returns of the last episodes of each lifetime, in the place of returns by episode."""
    return [
        replace(
            each,
            scores={
                label: values[..., -LATE:].mean(-1, keepdims=True) for label, values in each.scores.items()
            },
            measures={},
        )
        for each in evaluations
    ]


def learning_curves(found: list[Mapping[str, Any]]) -> str:
    """A picture per experiment; `draw_learning_curves` makes them."""
    pictures = []
    for each in found:
        title = " on ".join(_agent_and_world(each["command"]))
        pictures.append(f"![{title}: return while training](pictures/{_picture(each).name})")
    return "\n\n".join(pictures)


def draw_learning_curves(results: Path = RESULTS) -> None:
    """Return before and after adaptation against environment steps, a picture for each experiment."""
    for path in sorted(results.glob("learning_*.json")):
        each = json.loads(path.read_text())
        agent, world = _agent_and_world(each["command"])
        tables = [
            {RETURNS.get(tag, tag): values for tag, values in run["curve"].items()} for run in each["runs"]
        ]
        curves = [summarised(agent, tables, name) for name in RETURNS.values() if name in tables[0]]
        draw_curves(curves, _picture(each), title=f"{agent} on {world}")


def _picture(experiment: Mapping[str, Any]) -> Path:
    return PICTURES / f"learning_{experiment['name']}.png"
