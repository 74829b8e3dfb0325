"""How well a trained agent adapts: return after 0, 1, ... k inner steps on tasks of a split."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.statistics import interquartile_mean, stratified_bootstrap
from metarl.tables import markdown_table
from metarl.videos import task_text


@dataclass(frozen=True)
class Evaluation:
    """Scores of repeated adaptations, each from the same meta-parameters.

    A score is the undiscounted return, averaged over the trajectories of one task at one inner step.
    """

    scores: np.ndarray
    """Shape (repeats, tasks, inner steps + 1)."""
    tasks: list[dict]
    """What was adapted to."""
    protocol: dict[str, Any]
    """World, split, its hash and whether its tasks were kept apart from training, trajectories per inner step, seed,
    environment steps trained."""

    def summary(self) -> list[dict[str, Any]]:
        """One row per task and inner step, and rows over all tasks.

        Returns:
            Dicts with `task` (its text, or "all"), `step`, `iqm` (interquartile mean), `low` and `high` (95 %
            stratified bootstrap interval over the repeats).
        """
        groups = [(task_text(task), self.scores[:, i : i + 1]) for i, task in enumerate(self.tasks)]
        if len(groups) > 8:
            groups = []
        groups.append(("all", self.scores))
        rows = []
        for name, scores in groups:
            for step in range(scores.shape[-1]):
                low, high = stratified_bootstrap(scores[..., step], interquartile_mean)
                iqm = float(interquartile_mean(scores[..., step]))
                rows.append({"task": name, "step": step, "iqm": iqm, "low": float(low), "high": float(high)})
        return rows

    def table(self) -> str:
        """The summary as a Markdown table: a row per task, a column per inner step; one repeat has no interval."""
        heads = ["before" if step == 0 else f"after {step}" for step in range(self.scores.shape[-1])]
        cells: dict[str, list[str]] = {}
        for row in self.summary():
            interval = f"{row['low']:.1f}, {row['high']:.1f}" if len(self.scores) > 1 else "-"
            cells.setdefault(row["task"], []).append(f"{row['iqm']:.1f} [{interval}]")
        return markdown_table(["task", *heads], [[task, *each] for task, each in cells.items()])

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        return {
            "protocol": self.protocol,
            "tasks": self.tasks,
            "summary": self.summary(),
            "scores": self.scores.tolist(),
        }
