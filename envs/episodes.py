"""Clocks, tasks and randomness of n episodes side by side: what both faces of a world share."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from metarl.envs.task_distributions import Task
from metarl.envs.world import Bools, Floats, World


@dataclass
class Step:
    """One control step of n episodes."""

    observation: Floats
    """(n, D), the caller's own copy."""
    reward: Floats
    """(n,)"""
    terminated: Bools
    """(n,)"""
    truncated: Bools
    """(n,)"""
    values: dict[str, NDArray[Any]]
    """Reward terms, further measures and ``diverged``, by name, (n,) each."""


class Episodes:
    """n episodes of a world.

    A simulation has a pinned task, or none: then each of its episodes draws a training task of its own.

    Attributes:
        world: The world.
        elapsed: Steps since the last reset, (n,).
        num_diverged: How many episodes ended because the physics broke down.
    """

    def __init__(self, world: World):
        self.world = world
        num = world.num
        self.elapsed = np.zeros(num, np.int64)
        self.num_diverged = 0
        self._tasks: list[Task | None] = [None] * num
        self._pinned: list[Task | None] = [None] * num
        self._pending = np.ones(num, np.bool_)
        self._must_reset = True
        self._last = np.zeros((num, world.observation_size))
        self._actions = np.zeros((num, world.action_size))
        self._low, self._high = np.float64(-1), np.float64(1)
        self._nowhere = np.zeros(num, np.bool_)
        self._nowhere.flags.writeable = False

    @property
    def pending(self) -> bool:
        """Whether some simulation awaits a reset since its task was set, or since it was made."""
        return self._must_reset

    def observation(self, ids: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Copy of the last observations, (len(ids), D)."""
        return np.array(self._last[ids])

    def pin(self, tasks: Sequence[Task | None], rows: Sequence[int]) -> None:
        """Give simulations their tasks, from their next reset on; None draws a new one at each reset."""
        checked = [None if task is None else self.world.tasks.check(task) for task in tasks]
        for row, task in zip(rows, checked, strict=True):
            self._pinned[row] = task
        self._pending[list(rows)] = True
        self._must_reset = True

    def task(self, index: int) -> Task:
        """A copy of the task that simulation ``index`` is in, or will be in after the reset it awaits.

        Raises:
            ResetNeeded: If none was set and none was drawn yet.
        """
        task = self._tasks[index]
        if self._pending[index] and self._pinned[index] is not None:
            task = self._pinned[index]
        if task is None:
            raise ResetNeeded("no task yet: set one with set_task(), or call reset() to draw one")
        return copy.deepcopy(task)

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> Floats:
        """Start new episodes.

        Args:
            ids: Simulations, sorted and unique.
            rngs: A generator for each, which draws the task if none is pinned, then the initial state.

        Returns:
            First observations, (len(ids), D).
        """
        world, changed, tasks = self.world, [], []
        for index, rng in zip(ids.tolist(), rngs, strict=True):
            task = self._pinned[index]
            if task is None:
                task = world.tasks.sample(1, "train", rng)[0]
            if task != self._tasks[index]:
                self._tasks[index] = task
                changed.append(index)
                tasks.append(task)
        if changed:
            world.apply(np.array(changed), tasks)
        world.begin(ids, rngs)
        self.elapsed[ids] = 0
        self._pending[ids] = False
        self._must_reset = bool(self._pending.any())
        first = world.observe(ids)
        self._last[ids] = first
        return first

    def advance(self, actions: Any, ids: NDArray[np.intp] | None = None) -> Step:
        """One control step.

        Args:
            actions: (n, A), clipped to [-1, 1].
            ids: Simulations to step, sorted and unique; all by default. The others keep their observation,
                earn nothing, and have both flags down.

        Raises:
            ResetNeeded: If a simulation that is to be stepped was not reset since its task was set.
            ValueError: If actions have the wrong shape or are not finite.
        """
        self._check_ready(ids)
        clipped = self._clip(actions)
        outcome = self.world.advance(clipped, ids)
        reward = sum(outcome.terms.values())
        self.elapsed += 1
        truncated = self.elapsed >= self.world.horizon
        observation = self.world.observe()
        diverged = self._nowhere
        if outcome.diverged is not None:
            diverged = outcome.diverged
            self.num_diverged += int(diverged.sum())
            observation[diverged] = self._last[diverged]
        values = {**outcome.terms, **outcome.measures, "diverged": diverged}
        step = Step(observation, reward, outcome.terminated, truncated, values)
        if ids is not None:
            self._blank(step, ids)
        self._last[...] = step.observation
        return step

    def _check_ready(self, ids: NDArray[np.intp] | None) -> None:
        if self._must_reset and (self._pending.any() if ids is None else self._pending[ids].any()):
            raise ResetNeeded(
                "a task set by set_task() begins at the next reset, as does the first one: call reset()"
            )

    def _clip(self, actions: Any) -> Floats:
        actions = np.asarray(actions)
        clipped = self._actions
        if actions.shape != clipped.shape:
            raise ValueError(f"expected actions of shape {clipped.shape}, got {actions.shape}")
        np.maximum(actions, self._low, out=clipped)
        np.minimum(clipped, self._high, out=clipped)
        if not math.isfinite(np.add.reduce(clipped, axis=None)):
            rows = np.flatnonzero(~np.isfinite(clipped).all(axis=1))[:5].tolist()
            raise ValueError(f"actions must be numbers, got NaN in those of simulations {rows}")
        return clipped

    def _blank(self, step: Step, ids: NDArray[np.intp]) -> None:
        """Undo what a step says about simulations that were not stepped."""
        still = np.ones(self.world.num, np.bool_)
        still[ids] = False
        self.elapsed[still] -= 1
        step.observation[still] = self._last[still]
        step.reward[still] = 0.0
        step.terminated[still] = step.truncated[still] = False
        for name, value in step.values.items():
            if name != "diverged":
                value[still] = 0

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here: physics, clocks, tasks, last observations."""
        return {
            "world": copy.deepcopy(self.world.get_state()),
            "elapsed": self.elapsed.copy(),
            "tasks": copy.deepcopy(self._tasks),
            "pinned": copy.deepcopy(self._pinned),
            "pending": self._pending.copy(),
            "last": self._last.copy(),
            "num_diverged": self.num_diverged,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave, here or in another instance made with the same arguments.

        Raises:
            ValueError: If the state is of another number of simulations.
        """
        if len(state["elapsed"]) != self.world.num:
            raise ValueError(f"state of {len(state['elapsed'])} simulations, but there are {self.world.num}")
        self._tasks = copy.deepcopy(state["tasks"])
        self._pinned = copy.deepcopy(state["pinned"])
        known = [index for index, task in enumerate(self._tasks) if task is not None]
        if known:
            self.world.apply(np.array(known), [self._tasks[index] for index in known])
        self.world.set_state(state["world"])
        self.elapsed[...] = state["elapsed"]
        self._pending[...] = state["pending"]
        self._must_reset = bool(self._pending.any())
        self._last[...] = state["last"]
        self.num_diverged = state["num_diverged"]
