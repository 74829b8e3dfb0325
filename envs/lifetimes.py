"""Lifetimes: sequences of episodes whose task changes from one to the next, by a schedule.

A schedule draws lifetimes from a world's task distribution, so that training lifetimes are made of training tasks and
test lifetimes of test tasks.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metarl.envs.task_distributions import Task, TaskDistribution


class Schedule(Protocol):
    """What a world asks of a schedule."""

    episodes: int

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """One lifetime: a task for each episode."""

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """Every lifetime of a split.

        Raises:
            ValueError: If they are infinitely many.
        """


@dataclass(frozen=True)
class Redraw:
    """A new task for every episode."""

    episodes: int = 10
    """Episodes of a lifetime."""

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """Independent tasks."""
        return tasks.sample(self.episodes, split, rng)

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """Refused: there are too many to list."""
        raise ValueError("lifetimes of independent tasks are too many to list: draw some")


@dataclass(frozen=True)
class Drift:
    """From one drawn task to another by equal steps, every number by itself."""

    episodes: int = 10
    """Episodes of a lifetime, the first in the one task and the last in the other."""

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """Two tasks, and what lies between."""
        first, last = tasks.sample(2, split, rng)
        shares = np.linspace(0.0, 1.0, self.episodes).tolist()
        return [{key: _between(first[key], last[key], share) for key in first} for share in shares]

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """Refused: there are too many to list."""
        raise ValueError("drifting lifetimes are too many to list: draw some")


@dataclass(frozen=True)
class LegFailure:
    """One pair of legs loses its torque by equal steps, from all in the first episode to none in the last.

    Al-Shedivat et al. 2018, sec. 4.1. For tasks with `legs` and `torque`.
    """

    episodes: int = 7
    """Episodes of a lifetime."""

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """A pair of the split, and its decline."""
        return self._decline(tasks.sample(1, split, rng)[0])

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """The decline of each pair of the split."""
        return [self._decline(task) for task in tasks.enumerate(split)]

    def _decline(self, task: Task) -> list[Task]:
        last = self.episodes - 1
        return [{**task, "torque": (last - e) / last} for e in range(self.episodes)]


def _between(first: Any, last: Any, share: float) -> Any:
    return ((1 - share) * np.asarray(first) + share * np.asarray(last)).tolist()
