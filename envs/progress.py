"""How far simulations have come in their lifetimes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.lifetimes import Course, Schedule
from metarl.envs.task_distributions import Task, TaskDistribution

Root = tuple[Any, tuple[int, ...]]


class Progress:
    """Lifetimes of n simulations, an episode after another.

    Lifetime k of a simulation is drawn by a generator of its own: child k of the simulation's seed. So it is the same
    whatever else was drawn, done or skipped before. All of them are training lifetimes.

    Args:
        schedule: What draws lifetimes.
        tasks: What it draws from.
        num: n.
        horizon: Steps of an episode.

    Attributes:
        schedule: What draws lifetimes.
        lifetime: Number of the lifetime at hand, (n,); -1 where the task is pinned.
        episode: Number of the episode in its lifetime, (n,); -1 where the task is pinned.
    """

    def __init__(self, schedule: Schedule, tasks: TaskDistribution, num: int, horizon: int):
        schedule.check(tasks, horizon)
        self.schedule, self._tasks, self._horizon = schedule, tasks, horizon
        self.lifetime = np.full(num, -1)
        self.episode = np.full(num, -1)
        self._reached: list[tuple[int, int] | None] = [None] * num
        self._roots: list[Root | None] = [None] * num
        self._drawn: list[list[Task] | None] = [None] * num
        self._skip = np.zeros(num, np.bool_)

    @property
    def round(self) -> NDArray[np.int64] | None:
        """Number of the round in its game, (n,), -1 where the task is pinned; None where there are no rounds."""
        per_round = self.schedule.episodes_per_round
        return None if per_round is None else self.episode // per_round

    def begun(self, index: int) -> bool:
        """Whether a simulation has begun a lifetime since its seed."""
        return self._reached[index] is not None

    def restart(self, index: int) -> None:
        """Forget a simulation's lifetimes: it has got a new seed."""
        self._reached[index] = self._roots[index] = self._drawn[index] = None
        self._skip[index] = False

    def skip(self, rows: NDArray[np.intp]) -> None:
        """Let the next episodes that follow the schedule begin new lifetimes."""
        self._skip[rows] = True

    def root(self, index: int, rng: np.random.Generator) -> None:
        """Take what lifetimes are drawn from, if it is not known yet, from a simulation's generator."""
        if self._roots[index] is None:
            seed: Any = rng.bit_generator.seed_seq
            self._roots[index] = (seed.entropy, tuple(seed.spawn_key))

    def leave(self, index: int) -> None:
        """Begin an episode with a pinned task: it is no part of any lifetime."""
        self.lifetime[index] = self.episode[index] = -1

    def enter(self, index: int) -> Course:
        """Begin the next episode of a simulation's lifetime, or of its next lifetime; its root must be known.

        Returns:
            What it goes through.
        """
        reached = self._reached[index]
        if reached is None:
            lifetime, episode = 0, 0
        elif self._skip[index] or reached[1] + 1 == self.schedule.episodes:
            lifetime, episode = reached[0] + 1, 0
        else:
            lifetime, episode = reached[0], reached[1] + 1
        if episode == 0:
            self._drawn[index] = None
        self._skip[index] = False
        self._reached[index] = (lifetime, episode)
        self.lifetime[index], self.episode[index] = lifetime, episode
        return self.schedule.course(self._lifetime(index, lifetime), episode, self._horizon)

    def ends(self, finished: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where an episode that has finished was the last of its lifetime, (n,)."""
        return finished & (self.episode == self.schedule.episodes - 1)

    def _lifetime(self, index: int, number: int) -> list[Task]:
        """The lifetime at hand of a simulation, as the schedule draws it."""
        root, drawn = self._roots[index], self._drawn[index]
        assert root is not None
        if drawn is None:
            seed = np.random.SeedSequence(root[0], spawn_key=(*root[1], number))
            drawn = self.schedule.draw(self._tasks, "train", np.random.default_rng(seed))
            self._drawn[index] = drawn
        return drawn

    def get_state(self, rngs: list[np.random.Generator]) -> dict[str, Any]:
        """Everything but the tasks, which are drawn again.

        Args:
            rngs: The generator of each simulation.
        """
        for index, rng in enumerate(rngs):
            self.root(index, rng)
        return {
            "lifetime": self.lifetime.copy(),
            "episode": self.episode.copy(),
            "reached": list(self._reached),
            "roots": list(self._roots),
            "skip": self._skip.copy(),
            "schedule": self.schedule,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave.

        Raises:
            ValueError: It is of another schedule.
        """
        if state["schedule"] != self.schedule:
            raise ValueError(f"a state of lifetimes by {state['schedule']}, but these are by {self.schedule}")
        self.lifetime[...], self.episode[...] = state["lifetime"], state["episode"]
        self._reached, self._roots = list(state["reached"]), list(state["roots"])
        self._drawn = [None] * len(self._drawn)
        self._skip[...] = state["skip"]
