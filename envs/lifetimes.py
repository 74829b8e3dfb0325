"""Lifetimes: sequences of episodes whose task changes from one to the next, by a schedule.

A schedule draws lifetimes from a world's task distribution: training lifetimes from training tasks, test lifetimes from
test tasks.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from metarl.configs import from_dict
from metarl.envs.task_distributions import Task, TaskDistribution
from metarl.names import unknown

Course = list[tuple[int, Task]]
"""What an episode goes through: each of its tasks, after the step at which it begins. The first begins at 0."""


class Schedule(ABC):
    """What makes lifetimes of tasks.

    Attributes:
        episodes: Episodes of a lifetime.
        every: Steps after which the task changes within an episode; None if it stays to the end of the episode.
        per_episode: Tasks that an episode goes through, by turns.
        episodes_per_round: Episodes of a round, of games; None where there are no rounds.
    """

    episodes: int
    every: int | None = None
    per_episode: int = 1
    episodes_per_round: int | None = None

    @abstractmethod
    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """One lifetime: a task for each episode; ``per_episode`` of them, one after another, if they are several."""

    def course(self, lifetime: list[Task], number: int, horizon: int) -> Course:
        """What an episode of a lifetime goes through.

        Args:
            lifetime: As :meth:`draw` gives it.
            number: Of the episode, from 0.
            horizon: Steps of an episode.
        """
        if self.every is None:
            return [(0, lifetime[number])]
        own = lifetime[number * self.per_episode : (number + 1) * self.per_episode]
        return [(begin, own[turn % len(own)]) for turn, begin in enumerate(range(0, horizon, self.every))]

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """Every lifetime of a split.

        Raises:
            ValueError: If they are too many to list.
        """
        raise ValueError(f"the lifetimes of {self} are too many to list: draw some")

    def check(self, tasks: TaskDistribution, horizon: int) -> None:  # noqa: B027  any tasks will do by default
        """Refuse tasks that the schedule cannot change, or not in episodes of so many steps.

        Raises:
            ValueError: Saying why.
        """


@dataclass(frozen=True)
class Redraw(Schedule):
    """A new task for every episode."""

    episodes: int = 10
    """Episodes of a lifetime."""

    def __post_init__(self):
        _at_least(1, episodes=self.episodes)

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """Independent tasks."""
        return tasks.sample(self.episodes, split, rng)


@dataclass(frozen=True)
class Fixed(Schedule):
    """One task in all episodes, whatever the split: to train a specialist, or to see what time alone does to an agent."""

    task: Task
    """The task."""
    episodes: int = 10
    """Episodes of a lifetime."""

    def __post_init__(self):
        _at_least(1, episodes=self.episodes)

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """The task again and again."""
        return [tasks.check(self.task) for _ in range(self.episodes)]

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """The one lifetime that there is."""
        return [self.draw(tasks, split, np.random.default_rng(0))]

    def check(self, tasks: TaskDistribution, horizon: int) -> None:
        """Refuse a task that is none of this world."""
        tasks.check(self.task)


@dataclass(frozen=True)
class Drift(Schedule):
    """From one drawn task to another by equal steps, every number by itself.

    The two are of the split; what lies between them may be anywhere between them.
    """

    episodes: int = 10
    """Episodes of a lifetime, the first in the one task and the last in the other."""

    def __post_init__(self):
        _at_least(2, episodes=self.episodes)

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """Two tasks, and what lies between."""
        first, last = tasks.sample(2, split, rng)
        shares = np.linspace(0.0, 1.0, self.episodes).tolist()
        return [{key: _between(first[key], last[key], share) for key in first} for share in shares]

    def check(self, tasks: TaskDistribution, horizon: int) -> None:
        """Refuse tasks that have no others between them, such as two directions, or opponents."""
        drawn = tasks.sample(32, "all", 0)
        for first, last in pairwise(drawn):
            try:
                tasks.check({key: _between(first[key], last[key], 0.5) for key in first})
            except (TypeError, ValueError) as error:
                raise ValueError(f"tasks such as {first} and {last} cannot drift: {error}") from None


@dataclass(frozen=True)
class LegFailure(Schedule):
    """One pair of legs loses its torque by equal steps, from all in the first episode to none in the last.

    Al-Shedivat et al. 2018, sec. 4.1. For tasks with `legs` and `torque`.
    """

    episodes: int = 7
    """Episodes of a lifetime."""

    def __post_init__(self):
        _at_least(2, episodes=self.episodes)

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """A pair of the split, and its decline."""
        return self._decline(tasks.sample(1, split, rng)[0])

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """The decline of each pair of the split."""
        return [self._decline(task) for task in tasks.enumerate(split)]

    def check(self, tasks: TaskDistribution, horizon: int) -> None:
        """Refuse tasks without legs."""
        if "legs" not in tasks.keys or "torque" not in tasks.keys:
            raise ValueError(
                f"leg failure is for tasks with 'legs' and 'torque', these have {list(tasks.keys)}"
            )

    def _decline(self, task: Task) -> list[Task]:
        last = self.episodes - 1
        return [{**task, "torque": (last - e) / last} for e in range(self.episodes)]


@dataclass(frozen=True)
class Switch(Schedule):
    """The task changes within the episode, and nothing but the reward and the dynamics tells.

    An episode goes through its tasks by turns: after the last one, it returns to its first.
    """

    every: int = 100
    """Steps from one change to the next."""
    per_episode: int = 2
    """Tasks of an episode."""
    episodes: int = 1
    """Episodes of a lifetime."""

    def __post_init__(self):
        _at_least(1, every=self.every, episodes=self.episodes)
        _at_least(2, per_episode=self.per_episode)

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """The tasks of the first episode, of the second and so on.

        Each is unlike the one before, and the last of an episode unlike its first, to which it returns; as far as there
        are others.
        """
        lifetime = tasks.sample(1, split, rng)
        while len(lifetime) < self.episodes * self.per_episode:
            place = len(lifetime)
            last = lifetime[-1]
            first = lifetime[place + 1 - self.per_episode] if (place + 1) % self.per_episode == 0 else last
            unlike = [task for task in tasks.sample(100, split, rng) if task != last]
            best = [task for task in unlike if task != first]
            lifetime.append((best or unlike or [copy.deepcopy(last)])[0])
        return lifetime

    def check(self, tasks: TaskDistribution, horizon: int) -> None:
        """Refuse episodes that are over before their last task."""
        least = self.every * (self.per_episode - 1) + 1
        if horizon < least:
            raise ValueError(
                f"an episode has {horizon} steps: with every={self.every} its {self.per_episode} tasks need {least} "
                "or more; let the task change sooner"
            )


@dataclass(frozen=True)
class RisingVersions(Schedule):
    """Rounds against one opponent whose version rises from each round to the next: an iterated adaptation game.

    Al-Shedivat et al. 2018, sec. 4.2: the opponent has gone on training from round to round, as is settled before the
    game. It keeps its last version where it has no more. For tasks with `opponent` and `version`.
    """

    rounds: int = 100
    """Rounds of a game."""
    episodes_per_round: int = 3
    """Episodes of a round."""
    start: int = 0
    """How many of the opponent's versions are passed over before the first round."""
    step: int = 1
    """Versions from one round to the next."""

    def __post_init__(self):
        _at_least(1, rounds=self.rounds, episodes_per_round=self.episodes_per_round)
        _at_least(0, start=self.start, step=self.step)

    @property
    def episodes(self) -> int:
        """Episodes of a lifetime."""
        return self.rounds * self.episodes_per_round

    def draw(self, tasks: TaskDistribution, split: str, rng: np.random.Generator) -> list[Task]:
        """An opponent of the split, and how it goes on training."""
        return self._against(tasks, tasks.sample(1, split, rng)[0]["opponent"])

    def enumerate(self, tasks: TaskDistribution, split: str) -> list[list[Task]]:
        """The game against each opponent of the split."""
        return [self._against(tasks, name) for name in tasks.names(split)]

    def check(self, tasks: TaskDistribution, horizon: int) -> None:
        """Refuse tasks without opponents, and a start after the last version of all of them."""
        if not {"opponent", "version"} <= set(tasks.keys):
            raise ValueError(
                f"rising versions are for tasks with 'opponent' and 'version', these have {list(tasks.keys)}"
            )
        most = max(len(tasks.versions(name)) for name in tasks.names())
        if most > 1 and self.start >= most:
            raise ValueError(
                f"start={self.start} passes over all versions: the opponents have {most}, expected {most - 1} or less"
            )

    def _against(self, tasks: TaskDistribution, name: str) -> list[Task]:
        versions = tasks.versions(name)
        places = [min(self.start + self.step * number, len(versions) - 1) for number in range(self.rounds)]
        return [
            {"opponent": name, "version": versions[place]}
            for place in places
            for _ in range(self.episodes_per_round)
        ]


SCHEDULES: dict[str, type[Schedule]] = {
    "redraw": Redraw,
    "fixed": Fixed,
    "drift": Drift,
    "leg-failure": LegFailure,
    "switch": Switch,
    "rising-versions": RisingVersions,
}
"""Schedules by the names that they have in JSON."""


def as_schedule(given: Schedule | Mapping[str, Any] | str) -> Schedule:
    """A schedule from its JSON form.

    Args:
        given: Such as ``{"schedule": "drift", "episodes": 10}``; what is left out has its default; ``"drift"`` alone
            has only defaults. A schedule is returned as it is.

    Raises:
        ValueError: If there is no such schedule, or it has no such field, with the nearest name.
    """
    if isinstance(given, Schedule):
        return given
    fields = {"schedule": given} if isinstance(given, str) else given
    example = '{"schedule": "drift", "episodes": 10}'
    if not isinstance(fields, Mapping) or not isinstance(fields.get("schedule"), str):
        raise ValueError(f"lifetime must be a schedule, such as {example}, got {given!r}")
    name = fields["schedule"]
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return from_dict(SCHEDULES[name], {key: value for key, value in fields.items() if key != "schedule"})


def is_course(given: Any) -> bool:
    """Whether something is meant as the course of one episode, and not as a task or a list of one for each simulation."""
    first = given[0] if isinstance(given, list | tuple) and given else None
    return isinstance(first, list | tuple) and len(first) == 2 and isinstance(first[0], int | np.integer)


def as_course(given: Any, tasks: TaskDistribution) -> Course:
    """A checked copy of a course, or of a task that lasts for the whole episode.

    Raises:
        ValueError: If a task is none of the distribution, or the steps do not rise from 0.
    """
    if not is_course(given):
        return [(0, tasks.check(given))]
    if not all(is_course([each]) for each in given):
        raise ValueError(f"the tasks of an episode are pairs of a step and a task, got {given!r}")
    begins = [int(begin) for begin, _ in given]
    if begins[0] != 0 or any(one >= other for one, other in pairwise(begins)):
        raise ValueError(f"the tasks of an episode must begin at rising steps, the first at 0, got {begins}")
    return [(begin, tasks.check(task)) for begin, (_, task) in zip(begins, given, strict=True)]


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _between(first: Any, last: Any, share: float) -> Any:
    """Part of the way from one number, or nested list of numbers, to another; exact at both ends."""
    return ((1 - share) * np.asarray(first) + share * np.asarray(last)).tolist()
