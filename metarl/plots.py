"""Pictures and tables of results: adaptation curves, learning curves, Markdown tables.

matplotlib is loaded when something is drawn, without a display; it comes with the extra `plots`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl import runs as run_folders
from metarl.configs import differences
from metarl.names import unknown
from metarl.runs import Run
from metarl.statistics import bootstrap_band, interquartile_mean

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe & Ito 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
NO_DIFFERENCE = (
    "seed",
    "out",
    "device",
    "data_root",
    "start_from",
    "start_with",
    "steps",
    "episodes",
    "evaluate_every",
    "checkpoint_every",
    "evaluation_steps",
    "evaluation_tasks",
    "validation_episodes",
)
"""Settings of an experiment in which runs may differ that share a line."""
POINTS = 200
"""Points at which learning curves of different runs are compared."""


@dataclass(frozen=True)
class Curve:
    """One line of a learning curve."""

    group: str
    """Agent, world if there are several, and settings in which runs differ."""
    tag: str
    """What was logged."""
    seeds: int
    """How many runs it sums up."""
    steps: np.ndarray
    """Shape (points,)."""
    middle: np.ndarray
    """Interquartile mean over runs, shape (points,)."""
    low: np.ndarray
    """Lower edge of the band, shape (points,)."""
    high: np.ndarray
    """Upper edge of the band, shape (points,)."""


def adaptation_curve(
    rows: Iterable[Mapping[str, Any]],
    out: str | Path,
    *,
    line: str = "task",
    title: str = "",
) -> Path:
    """Draw the return against the number of inner steps, one line per task or method, with intervals.

    Args:
        rows: Dicts with `step` (inner steps), `iqm` (interquartile mean), `low` and `high` (its interval),
            and the name of the line they belong to.
        out: The image; its ending says the format (png, svg, pdf).
        line: Which entry of a row names its line, e.g. `task` or `method`.
        title: Above the picture.

    Returns:
        The path of the image.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault(str(row[line]), []).append(row)
    if not lines:
        raise ValueError("there is nothing to draw: no rows were given")
    figure, axes = _figure(6.4)
    for index, (name, points) in enumerate(lines.items()):
        points = sorted(points, key=lambda row: row["step"])
        middle, low, high = (np.array([float(row[key]) for row in points]) for key in ("iqm", "low", "high"))
        aside = 0.04 * (index - (len(lines) - 1) / 2)  # so that intervals do not hide one another
        steps = np.array([row["step"] for row in points]) + aside
        errors = np.maximum(0, [middle - low, high - middle])
        axes.errorbar(steps, middle, yerr=errors, label=name, capsize=3, **_style(index))
    ticks = sorted({row["step"] for points in lines.values() for row in points})
    axes.set_xticks(ticks)
    axes.set_xlabel("inner steps on the new task")
    axes.set_ylabel("return\n(interquartile mean, 95 % interval)")
    return _finish(figure, axes, out, title, legend=line if len(lines) > 1 else None)


def learning_curves(
    runs: Iterable[Run | str | Path],
    out: str | Path,
    *,
    tags: Sequence[str] = (),
    title: str = "",
    xlabel: str = "",
) -> Path:
    """Draw logged numbers against steps; runs that differ in nothing but the seed share a line with a band.

    Args:
        runs: Runs, their folders, or folders that hold runs.
        out: The image; its ending says the format (png, svg, pdf).
        tags: What to draw; empty for the return before and after adaptation, or the mean episode return.
        title: Above the picture.
        xlabel: What the steps are; empty for environment steps, or episodes where all runs are of few-shot methods.

    Returns:
        The path of the image.

    Raises:
        ValueError: no runs, or a tag that none of them has logged.
    """
    places = list(runs)
    if not xlabel:
        few_shot = all("method" in run.config for place in places for run in _opened(place))
        xlabel = "episodes" if few_shot else "environment steps"
    return draw_curves(read_curves(places, tags), out, title=title, xlabel=xlabel)


def draw_curves(
    curves: Sequence[Curve], out: str | Path, *, title: str = "", xlabel: str = "environment steps"
) -> Path:
    """Draw lines with bands: a colour for each group, a dash for each tag, the last tag solid.

    Args:
        curves: From `read_curves` or `summarised`.
        out: The image; its ending says the format (png, svg, pdf).
        title: Above the picture.
        xlabel: What the steps are.

    Returns:
        The path of the image.
    """
    figure, axes = _figure(7.6)
    groups, tags = [list(dict.fromkeys(getattr(c, name) for c in curves)) for name in ("group", "tag")]
    for curve in curves:
        dash = DASHES[(len(tags) - 1 - tags.index(curve.tag)) % len(DASHES)]
        style = _style(groups.index(curve.group)) | {"marker": None, "linestyle": dash}
        label = f"{curve.group}: {curve.tag} ({curve.seeds} {'seed' if curve.seeds == 1 else 'seeds'})"
        axes.plot(curve.steps, curve.middle, label=label, **style)
        axes.fill_between(curve.steps, curve.low, curve.high, color=style["color"], alpha=0.2, linewidth=0)
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(f"{_common(curves)}\n(interquartile mean over seeds, 95 % band)")
    return _finish(figure, axes, out, title, legend="")


def read_curves(runs: Iterable[Run | str | Path], tags: Sequence[str] = ()) -> list[Curve]:
    """The lines that `learning_curves` draws: for each agent, world and tag, summarised over its runs."""
    opened = [each for place in runs for each in _opened(place)]
    if not opened:
        raise ValueError("there are no runs to draw")
    groups: dict[str, list[dict[str, list[float]]]] = {}
    for run, name in zip(opened, names_of(opened), strict=True):
        groups.setdefault(name, []).append(run.metrics())
    logged = dict.fromkeys(tag for tables in groups.values() for table in tables for tag in table)
    for tag in tags:
        if tag not in logged:
            raise unknown("tag", tag, [name for name in logged if name != "step"])
    chosen = list(tags) or _default_tags(list(logged))
    curves = [
        summarised(name, tables, tag)
        for name, tables in groups.items()
        for tag in chosen
        if any(_values(table, tag)[0].size for table in tables)
    ]
    return curves


def names_of(runs: Sequence[Run]) -> list[str]:
    """What each of several runs is called: its agent, its world if there are several, and in what its settings differ.

    Whether a run started from another counts as a setting; from which one does not. Runs that differ in nothing but the
    seed have one name; so have those of which one was trained for longer.
    """
    worlds = [str(run.info.get("world")).removeprefix("metarl/") for run in runs]
    agents = [str(run.info.get("agent")) for run in runs]
    settings = [
        {
            **run.config.get("config", {}),
            **{k: v for k, v in run.config.get("experiment", {}).items() if k not in NO_DIFFERENCE},
            "trained": _beginning(run),
        }
        for run in runs
    ]
    unlike = differences(settings, list(zip(agents, worlds, strict=True)))
    return [
        agent + (f" on {world}" if len(set(worlds)) > 1 else "") + (f" ({text})" if text else "")
        for agent, world, text in zip(agents, worlds, unlike, strict=True)
    ]


def _beginning(run: Run) -> str:
    started = run.config.get("experiment", {}).get("start_from") is not None
    return "from another run" if started else "from scratch"


def _opened(place: Run | str | Path) -> list[Run]:
    return [place] if isinstance(place, Run) else run_folders.runs_in(place)


def _default_tags(logged: list[str]) -> list[str]:
    adapted = sorted(
        (tag for tag in logged if tag.startswith("adapt/return_")),
        key=lambda tag: int(tag.rpartition("_")[2]),
    )
    if len(adapted) > 1:
        return [adapted[0], adapted[-1]]
    for tag in (
        *adapted,
        "rollout/ep_rew_mean",
        "fewshot/accuracy",
        "fewshot/mse",
        "train/loss",
    ):
        if tag in logged:
            return [tag]
    raise ValueError(f"the runs have logged none of the usual returns; choose tags from: {', '.join(logged)}")


def _values(table: Mapping[str, list[float]], tag: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a tag where it was logged."""
    steps, values = np.array(table.get("step", [])), np.array(table.get(tag, []))
    there = np.isfinite(values) if values.size else np.zeros(0, dtype=bool)
    return (steps[there], values[there]) if values.size else (values, values)


def summarised(group: str, tables: Sequence[Mapping[str, list[float]]], tag: str) -> Curve:
    """Runs on a common grid; where some have ended, the others go on alone.

    Args:
        group: What the runs have in common.
        tables: For each run its numbers by tag, `step` among them, as `Run.metrics` gives them.
        tag: Which number.
    """
    found = [each for table in tables if (each := _values(table, tag))[0].size]
    start, end = min(steps[0] for steps, _ in found), max(steps[-1] for steps, _ in found)
    grid = np.linspace(start, end, POINTS) if end > start else np.array([start])
    on_grid = np.stack([np.interp(grid, *each, left=np.nan, right=np.nan) for each in found])
    middle, low, high = (np.full(len(grid), np.nan) for _ in range(3))
    there = np.isfinite(on_grid)
    for present in np.unique(there.T, axis=0):
        if present.any():
            columns = np.equal(there.T, present).all(axis=1)
            part = on_grid[np.ix_(present, columns)]
            middle[columns] = interquartile_mean(part, axis=0)
            low[columns], high[columns] = bootstrap_band(part)
    return Curve(group, tag, len(found), grid, middle, low, high)


def _common(curves: Sequence[Curve]) -> str:
    tags = {curve.tag for curve in curves}
    return tags.pop() if len(tags) == 1 else "return" if all("return" in tag for tag in tags) else "value"


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
        "linewidth": 1.8,
        "markersize": 5,
    }


def _finish(figure: Any, axes: Any, out: str | Path, title: str, *, legend: str | None) -> Path:
    """Title, grid, legend beside the data; written to disk."""
    if title:
        axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if legend is not None:
        axes.legend(title=legend, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return save(figure, out)


def _figure(width: float) -> tuple[Any, Any]:
    figure = new_figure(width, 3.8)
    return figure, figure.subplots()


def new_figure(width: float, height: float) -> Any:
    """An empty figure of a size in inches; it needs no display and leaves pyplot alone."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError('drawing needs matplotlib: pip install "metarl-suite[plots]"') from None
    return Figure(figsize=(width, height), layout="constrained")


def check_picture(out: str | Path) -> Path:
    """The path of a picture that is to be written, before long work for it begins.

    Raises:
        ValueError: Its ending does not say a format, it is a folder, or matplotlib is missing.
    """
    known = new_figure(1, 1).canvas.get_supported_filetypes()
    out = Path(out)
    if out.is_dir() or not out.suffix:
        example = out / "plot.png" if out.is_dir() else f"{out}.png"
        raise ValueError(f"cannot write a picture to '{out}', expected a file such as {example}")
    if out.suffix[1:].lower() not in known:
        raise ValueError(f"cannot write '{out}': got the suffix '{out.suffix}', expected png, svg or pdf")
    return out


def save(figure: Any, out: str | Path) -> Path:
    """Write a figure; the ending says the format (png, svg, pdf). Gives the path."""
    out = check_picture(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(out, dpi=150)
    except ValueError as error:
        raise ValueError(f"cannot write {out}: {error}") from None
    return out
