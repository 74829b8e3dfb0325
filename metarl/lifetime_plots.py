"""Pictures of lifetimes: the return of every episode, a panel for each group, a line for each method."""

from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from metarl.plots import COLOURS, DASHES, MARKERS, new_figure, save

COLUMNS = 4
"""Panels in a row, at most."""
PANEL = (3.1, 2.9)
"""Size of a panel, inches."""


def lifetime_curves(
    rows: Iterable[Mapping[str, Any]],
    out: str | Path,
    *,
    title: str = "",
) -> Path:
    """Draw return against episode with its interval, as in fig. 4 of Al-Shedivat et al. (ICLR 2018).

    An agent has a colour, and each way it lives a dash and a marker of that colour.

    Args:
        rows: Dicts with `method` (agent, or agent and way to live after a comma), `group`, `episode`, `mean`,
            `low` and `high`, as `metarl.agents.lifetime_evaluation.summary` gives them.
        out: The image; its ending says the format (png, svg, pdf).
        title: Above the picture.

    Returns:
        The path of the image.
    """
    panels: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if row["mean"] is not None:
            panels.setdefault(row["group"], {}).setdefault(row["method"], []).append(row)
    if not panels:
        raise ValueError("there is nothing to draw: no rows were given")
    across, down = min(COLUMNS, len(panels)), ceil(len(panels) / COLUMNS)
    figure = new_figure(max(5.2, PANEL[0] * across), PANEL[1] * down)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    styles = _styles(_methods(panels))
    for axes, (group, lines) in zip(grid, panels.items(), strict=False):
        for method, points in lines.items():
            _draw(axes, points, styles[method], method)
        axes.set_title(group, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    _name(figure, grid, len(panels), across, title)
    return save(figure, out)


def _draw(axes: Any, points: list[Mapping[str, Any]], style: dict[str, Any], method: str) -> None:
    points = sorted(points, key=lambda row: row["episode"])
    episodes, mean, low, high = (
        np.array([float(row[key]) for row in points]) for key in ("episode", "mean", "low", "high")
    )
    axes.plot(episodes, mean, label=method, **style)
    axes.fill_between(episodes, low, high, color=style["color"], alpha=0.18, linewidth=0)
    axes.set_xticks(episodes if len(episodes) <= 10 else episodes[:: ceil(len(episodes) / 10)])


def _name(figure: Any, grid: Any, panels: int, across: int, title: str) -> None:
    """Names of the axes, the title, and the legend below the panels."""
    for axes in grid[max(0, panels - across) : panels]:  # the lowest of each column
        axes.set_xlabel("episode of the lifetime")
        axes.tick_params(labelbottom=True)
    figure.supylabel("return (mean, 95 % interval)", fontsize="medium")
    if title:
        figure.suptitle(title)
    handles: dict[str, Any] = {}
    for axes in grid[:panels]:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    for columns in range(across, 0, -1):  # as many as the figure is wide enough for
        legend = figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + 0.3 + 0.22 * ceil(len(handles) / columns))


def _methods(panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(method for lines in panels.values() for method in lines))


def _styles(methods: list[str]) -> dict[str, dict[str, Any]]:
    """For each method its agent's colour, and the dash and marker of the way it lives."""
    ways: dict[str, list[str]] = {}
    for method in methods:
        ways.setdefault(method.partition(", ")[0], []).append(method)
    return {
        method: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[j % len(DASHES)],
            "marker": MARKERS[(i + 3 * j) % len(MARKERS)],
            "markersize": 4.5,
            "linewidth": 1.8,
        }
        for i, agent in enumerate(ways.values())
        for j, method in enumerate(agent)
    }
