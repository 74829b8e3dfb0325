"""Fill the result tables of README.md and docs/results.md from benchmarks/results/*.json.

    python benchmarks/tables.py [--check]

A table stands between two marks, `<!-- results:NAME -->` and `<!-- end -->`; NAME is a key of TABLES. Everything
between the marks is replaced; where the results are missing, it stays. `--check` writes nothing and fails if a page is
out of date.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metarl.agents.games import by_quarters, episodes_per_round
from metarl.agents.lifetime_evaluation import ALL, LifetimeEvaluation, of_json, summary
from metarl.agents.lifetime_evaluation import table as lifetimes_table
from metarl.commands.evolution import table as evolution_table
from metarl.envs.contests import proportion_interval
from metarl.names import unknown
from metarl.plots import draw_curves, markdown_table, summarised
from metarl.statistics import interquartile_mean, stratified_bootstrap
from metarl.supervised.benchmark_table import published_for
from metarl.videos import task_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
RETURNS = {"adapt/return_0": "return before adaptation", "rollout/ep_rew_mean": "return after adaptation"}
"""Tags of a learning curve, and what the picture calls them."""
LATE = 3
"""The last episodes of a lifetime, whose mean is given too."""
MARK = re.compile(r"(<!-- results:(?P<name>[\w.-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)


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
        commands.append(f"- `{each['command']} --seed N`, {_where(runs[0], ', '.join(commits))}")
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


def meta_gradient(found: list[Mapping[str, Any]]) -> str:
    """How many times as long the peers take for one meta-gradient; median and 95 % interval."""
    (only,) = found
    peers = sorted({peer for case in only["results"] for peer in case["ratio"]})
    rows = []
    for case in only["results"]:
        ratios = [case["ratio"].get(peer) for peer in peers]
        rows.append([case["case"], *(_ratio(each) if each else "" for each in ratios)])
    return markdown_table(["time of a peer / ours", *peers], rows) + _source(only)


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['interval_low']:.2f}, {ratio['interval_high']:.2f}]"


def meta_step(found: list[Mapping[str, Any]]) -> str:
    """Time of one meta-step of every method and the memory it needs; beside, those of a peer divided by ours.

    Times are medians with their quartiles, of a ratio within rounds.
    """
    (only,) = found
    peers = list(dict.fromkeys(peer for each in only["results"] for peer in each["ratio"]))
    rows = []
    for each in only["results"]:
        ours = {name: 1e3 * value for name, value in each["spread"]["metarl"].items()}
        memory = np.median(each["peak_bytes"]["metarl"]) / 2**20
        row = [each["method"], _quartiles(ours, ".0f"), f"{memory:.0f}"]
        for peer in peers:
            there = peer in each["ratio"]
            row.append(_quartiles(each["ratio"][peer], ".2f") if there else "")
            row.append(f"{each['memory_ratio'][peer]:.2f}" if there else "")
        rows.append(row)
    beside = [text for peer in peers for text in (f"{peer}: time / ours", "memory / ours")]
    return markdown_table(["method", "ms", "MiB", *beside], rows) + _source(only)


def _quartiles(spread: Mapping[str, float], form: str) -> str:
    return f"{spread['median']:{form}} [{spread['quartile_low']:{form}}, {spread['quartile_high']:{form}}]"


def worlds(found: list[Mapping[str, Any]]) -> str:
    """Environment steps per second (wall time) of each way to step a body."""
    (only,) = found
    rows = []
    for body, measured in only["bodies"].items():
        for way, rate in measured["rates"].items():
            wall = rate["wall"]
            low, high = wall["quartile_1"], wall["quartile_3"]
            rows.append([body, way, f"{wall['median']:,.0f} [{low:,.0f}, {high:,.0f}]"])
    heads = ["body", "way to step it, simulations", "steps/s: median [quartiles]"]
    return markdown_table(heads, rows) + _source(only)


def hexapod(found: list[Mapping[str, Any]]) -> str:
    """What a trained policy earns under each integrator and step, and how fast the world is with it."""
    (only,) = found
    speeds, rows = only["throughput"], []
    for policy in only["policies"]:
        for name, cell in policy["settings"].items():
            low, high = cell["interval_95"]
            row = [name, f"{cell['return']:.0f}", f"{cell['difference']:.0f} [{low:.0f}, {high:.0f}]"]
            row.append(f"{cell['speed_with_all_legs']:.2f}")
            rate, share = speeds.get(f"metarl {name} 64"), speeds.get(f"metarl {name} 64 / floor")
            rows.append(
                [*row, f"{rate['median']:,.0f}" if rate else "", f"{share['median']:.2f}" if share else ""]
            )
    heads = ["physics", "return", "less RK4's", "m/s, all legs", "steps per CPU second", "of the floor"]
    return markdown_table(heads, rows) + _source(only)


def iteration(found: list[Mapping[str, Any]]) -> str:
    """Share of a training iteration by part: the median over iterations."""
    parts = list(found[0]["rows"][0]["shares"])
    rows = []
    for row in (row for each in found for row in each["rows"]):
        speed = row["steps_per_iteration"] / row["seconds_per_iteration"][1]
        shares = [f"{100 * row['shares'][part][1]:.0f} %" for part in parts]
        rows.append([row["world"].removeprefix("metarl/"), row["agent"], *shares, f"{speed:,.0f}"])
    sources = dict.fromkeys(_source(each).strip() for each in found)
    return markdown_table(["world", "agent", *parts, "steps/s"], rows) + "\n\n" + "\n\n".join(sources)


def lifetimes(found: list[Mapping[str, Any]]) -> str:
    """Returns by episode, or of games the share of rounds won by quarters, for each world; and how all was trained."""
    (only,) = found
    texts, commands = [], []
    for title, each in only["comparisons"].items():
        seeds = sorted({run["seed"] for run in each["runs"]})
        texts.append(f"**{title}**, seeds {', '.join(map(str, seeds))}\n\n{lived(each['runs'])}")
        names = dict.fromkeys(run["agent"] for run in each["runs"])
        commands += [f"- {name}: `{text}`" for name, text in _trainings(each["stages"], names)]
    return "\n\n".join([*texts, "\n".join(dict.fromkeys(commands))]) + _source(only)


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
    return markdown_table(heads, rows) + _source(only)


def evolution(found: list[Mapping[str, Any]]) -> str:
    """Individuals of each wrestler by generation."""
    (only,) = found
    populations = evolution_table(list(only["protocol"]["wrestlers"]), only["populations"])
    return f"{populations}\n\n`{only['command']}`, {_where(only, str(only['commit'])[:9])}"


def sumo_ladders(found: list[Mapping[str, Any]]) -> str:
    """Every version of the package's wrestlers: wins over those that stand still, and of the newest over it."""
    (only,) = found
    newest = {name.partition("@")[0]: name for name in only["wrestlers"]}
    rows = []
    for name in only["wrestlers"]:
        top, row = newest[name.partition("@")[0]], [name]
        for meeting in ((name, "zero-ant"), (name, "zero-bug"), (top, name)):
            row += [_wins(_contests(only, "fast", calm).get(meeting)) for calm in (False, True)]
        rows.append(row)
    against = ("beats zero-ant, %", "beats zero-bug, %", "the newest beats it, %")
    heads = [text for each in against for text in (each, "without noise")]
    return markdown_table(["version", *heads], rows) + _source(only)


def sumo_physics(found: list[Mapping[str, Any]]) -> str:
    """The same contests under both physics."""
    (only,) = found
    fast = _contests(only, "fast")
    rows = [[*pair, _ended(fast[pair]), _ended(results)] for pair, results in _contests(only, "rk4").items()]
    return markdown_table(["first", "second", "fast: won-drawn-lost", "rk4"], rows) + _source(only)


def sumo_pairs(found: list[Mapping[str, Any]]) -> str:
    """Wins of the row over the column with the 95 % interval, in per cent."""
    (only,) = found
    shares: dict[tuple[str, str], str] = {}
    for (one, two), results in _contests(only, "fast").items():
        shares.setdefault((one, two), _wins(results))
        shares.setdefault((two, one), _wins(results, "L"))
    bodies = {name.partition("@")[0] for name in only["wrestlers"]}
    names = [
        name
        for name in only["wrestlers"]
        if bodies == {two.partition("@")[0] for one, two in shares if one == name and "zero" not in two}
    ]
    rows = [[one, *(shares.get((one, two), "") for two in names)] for one in names]
    return markdown_table(["wins in %", *names], rows) + _source(only)


def _contests(found: Mapping[str, Any], physics: str, deterministic: bool = False) -> dict:
    """Results by the pair that met."""
    return {
        (each["one"], each["two"]): each["results"]
        for each in found["contests"]
        if (each["physics"], each["deterministic"]) == (physics, deterministic)
    }


def robosumo(found: list[Mapping[str, Any]]) -> str:
    """Control steps per second of every pairing, 64 matches side by side, and their share of the bare physics."""
    (only,) = found
    rows = []
    for pairing, by_physics in only["pairings"].items():
        row = [pairing]
        for measured in by_physics.values():
            share = measured["shares_of_the_floor"]["matches 64"]["cpu"]
            row.append(f"{measured['rates']['matches 64']['cpu']['median']:,.0f}")
            row.append(f"{share['median']:.2f} [{share['quartile_1']:.2f}, {share['quartile_3']:.2f}]")
        rows.append(row)
    heads = [
        f"{text} {name}"
        for name in next(iter(only["pairings"].values()))
        for text in ("steps/s,", "of the floor,")
    ]
    return markdown_table(["pairing", *heads], rows) + _source(only)


def _wins(results: str | None, letter: str = "W") -> str:
    if results is None:
        return ""
    low, high = proportion_interval(results.count(letter), len(results))
    return f"{100 * results.count(letter) / len(results):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _ended(results: str) -> str:
    rest = len(results) - results.count("W") - results.count("L")
    return f"{results.count('W')}-{rest}-{results.count('L')}"


def fewshot(found: list[Mapping[str, Any]]) -> str:
    """Accuracy of each run on test episodes by the method's own normalisation mode, and half its 95 % interval.

    What is published stands in brackets, and where it comes from below.
    """
    rows, commands, sources = [], [], []
    kinds = sorted(
        {row["kind"] for each in found for run in each["runs"] for row in run["rows"]}, key=_by_way
    )
    for run in sorted((run for each in found for run in each["runs"]), key=_by_data_and_method):
        experiment = run["config"]["experiment"]
        data, aim = experiment["data"], f"{experiment['way']}w{experiment['shot']}s"
        mode = next(iter(run["rows"][0]["accuracies"]))
        beside = published_for(run["method"], data, mode in ("joint", "transductive"), own=True)
        cells = {row["kind"]: _accuracies(row["accuracies"]) for row in run["rows"]}
        if beside is not None:
            kind = " (transductive)" if beside["transductive"] else ""
            sources.append(f"- {run['method']}: {beside['source']}; {beside['protocol']}{kind}")
            for name, other in beside["accuracy"].items():
                cells[name] = f"{cells[name]} ({other['accuracy']})" if name in cells else ""
        rows.append([data, run["method"], aim, mode, *(cells.get(kind, "") for kind in kinds), run["seed"]])
        commands.append(f"- `{run['training']}`{_longer(run)}, {run['minutes']:.0f} min, {_commits(run)}")
    heads = ["data", "method", "chosen by", "normalised by", *kinds, "seed"]
    parts = [markdown_table(heads, rows), "\n".join(commands)]
    if sources:
        parts.append("Published numbers:\n\n" + "\n".join(dict.fromkeys(sources)))
    return "\n\n".join(parts)


def _by_way(kind: str) -> tuple[int, str]:
    """Ways first, then shots; what is no such setting comes last."""
    return len(kind), kind


def _by_data_and_method(run: Mapping[str, Any]) -> tuple[str, str]:
    return run["config"]["experiment"]["data"], run["method"]


def _longer(run: Mapping[str, Any]) -> str:
    """For how many episodes a run was trained, where that is not what its command says."""
    episodes = run.get("episodes")
    asked = run["config"]["experiment"].get("episodes")
    return "" if episodes in (None, asked) else f" and `--resume`, {episodes:,} episodes in all"


def _commits(run: Mapping[str, Any]) -> str:
    return _where(run, ", ".join(dict.fromkeys(each["commit"][:9] for each in run["git"])))


def _accuracies(by_mode: Mapping[str, list[float]]) -> str:
    """Of the first mode, in percent."""
    values = np.array(next(iter(by_mode.values())))
    return f"{100 * values.mean():.1f} ± {100 * 1.96 * values.std(ddof=1) / len(values) ** 0.5:.1f}"


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


def _source(found: Mapping[str, Any]) -> str:
    machine = {"hardware": found.get("hardware") or found.get("host") or {}}
    script = " ".join(found["command"].split()[:2])
    return f"\n\n`{script}`, {_where(machine, str(found.get('commit', 'unknown'))[:9])}"


def _where(run: Mapping[str, Any], commit: str) -> str:
    """Commit and machine of a result, in words."""
    hardware = run["hardware"]
    parts = [f"commit {commit}"]
    if hardware.get("processor"):
        parts.append(f"{hardware['processor']}, {hardware.get('cores', '?')} cores")
    return ", ".join([*parts, *map(str, hardware.get("gpus", []))])


TABLES: dict[str, tuple[str, Callable[[list[Mapping[str, Any]]], str]]] = {
    "evolution": ("evolution.json", evolution),
    "fewshot": ("fewshot_*.json", fewshot),
    "hexapod": ("hexapod.json", hexapod),
    "iteration": ("iteration*.json", iteration),
    "learning": ("learning_*.json", learning),
    "learning_curves": ("learning_*.json", learning_curves),
    "lifetimes_games": ("lifetimes_games.json", lifetimes),
    "lifetimes_hexapod": ("lifetimes_hexapod.json", lifetimes),
    "lifetimes_sample-complexity": ("lifetimes_sample-complexity.json", lifetimes),
    "lifetimes_specialists": ("lifetimes_specialists.json", lifetimes),
    "meta_gradient": ("meta_gradient.json", meta_gradient),
    "meta_step": ("meta_step.json", meta_step),
    "mlap": ("mlap.json", mlap),
    "robosumo": ("robosumo.json", robosumo),
    "sumo_ladders": ("sumo_ladders.json", sumo_ladders),
    "sumo_pairs": ("sumo_ladders.json", sumo_pairs),
    "sumo_physics": ("sumo_ladders.json", sumo_physics),
    "worlds": ("worlds.json", worlds),
}
"""For each mark the files it is made of, and how."""


def table(name: str, results: Path = RESULTS) -> str | None:
    """The text for a mark, None if its results are not there.

    Raises:
        ValueError: No table has this name.
    """
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    pattern, make = TABLES[name]
    found = [json.loads(path.read_text()) for path in sorted(results.glob(pattern))]
    return make(found) if found else None


def filled(text: str, results: Path = RESULTS) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match) -> str:
        made = table(match["name"], results)
        return match[0] if made is None else f"{match[1]}\n{made}\n{match[4]}"

    return MARK.sub(replace, text)


def main(arguments: list[str] | None = None) -> int:
    """Fill or check the pages; 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args(arguments).check
    if not check:
        draw_learning_curves()
    stale = 0
    for page in PAGES:
        if page.exists() and (new := filled(old := page.read_text())) != old:
            stale += 1
            print(f"{page.relative_to(ROOT)}: {'out of date' if check else 'tables written'}")
            if not check:
                page.write_text(new)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
