"""Clocks, tasks and randomness of n episodes side by side: what both faces of a world share."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from metarl.envs.lifetimes import Course, as_course
from metarl.envs.progress import Progress
from metarl.envs.task_distributions import Task, task_id
from metarl.envs.world import Bools, Floats, World

NEVER = np.iinfo(np.int64).max


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
    """Reward terms, further measures and ``diverged``, by name, (n,) each; of worlds with a schedule of lifetimes also
    ``lifetime``, ``episode_index``, ``task_id``, ``lifetime_end`` and ``task_changed``, and of games ``round_index``."""


class Episodes:
    """n episodes of a world.

    A simulation has a pinned task, or several that its episodes go through, or none: then its episodes follow the world's
    schedule of lifetimes; if the world has none, each draws a training task of its own.

    Args:
        world: The world.
        restart_on_seed: Whether a new seed begins the first lifetime; else they go on.

    Attributes:
        world: The world.
        elapsed: Steps since the last reset, (n,).
        num_diverged: How many episodes ended because the physics broke down.
        progress: Where simulations are in their lifetimes; None if the world has no schedule.

    Raises:
        ValueError: If lifetimes shall go on and there are none.
    """

    def __init__(self, world: World, restart_on_seed: bool = True):
        if not isinstance(restart_on_seed, bool):
            raise ValueError(f"restart_on_seed must be True or False, got {restart_on_seed!r}")
        if not restart_on_seed and world.lifetime is None:
            raise ValueError(
                "restart_on_seed=False goes on with a lifetime, but this world has none: make it with "
                "lifetime={'schedule': ...} too, or leave restart_on_seed out"
            )
        self._restart_on_seed = restart_on_seed
        self.world = world
        num = world.num
        self.progress = (
            None if world.lifetime is None else Progress(world.lifetime, world.tasks, num, world.horizon)
        )
        self._all = np.arange(num)
        self._changed = np.zeros(num, np.bool_)
        self._fresh = np.ones(num, np.bool_)
        self.elapsed = np.zeros(num, np.int64)
        self.num_diverged = 0
        self._tasks: list[Task | None] = [None] * num
        self._task_ids = np.full(num, -1)
        self._pinned: list[Course | None] = [None] * num
        self._ahead: list[Course] = [[] for _ in range(num)]
        self._next_change = np.full(num, NEVER)
        self._changes_ahead = False
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

    def pin(self, tasks: Sequence[Task | Course | None], rows: Sequence[int]) -> None:
        """Give simulations their tasks, from their next reset on.

        Args:
            tasks: For each a task; or what each episode goes through, pairs of the step at which a task begins and the
                task; or None, to draw a new one at each reset.
            rows: The simulations.

        Raises:
            ValueError: If a task is malformed, or the steps do not rise from 0.
        """
        checked = [None if task is None else as_course(task, self.world.tasks) for task in tasks]
        for row, task in zip(rows, checked, strict=True):
            self._pinned[row] = task
        self._pending[list(rows)] = True
        self._must_reset = True

    def restart(self, index: int) -> None:
        """Take note that a simulation has got a new seed: its next reset begins its first lifetime, unless they go on."""
        self._fresh[index] |= self._restart_on_seed
        if self.progress is not None and (self._restart_on_seed or not self.progress.begun(index)):
            self.progress.restart(index)

    def skip(self, ids: NDArray[np.intp], new_lifetime: Any) -> None:
        """Begin the next lifetime at the next reset of simulations.

        Args:
            ids: Simulations that are about to be reset.
            new_lifetime: Whether to do so: a bool for all, or for each of the n; see `check_skip`.
        """
        if self.progress is not None:
            self.progress.skip(ids[np.broadcast_to(new_lifetime, self.world.num)[ids]])

    def check_skip(self, new_lifetime: Any) -> None:
        """Refuse what does not say whether to begin new lifetimes.

        Raises:
            ValueError: If it is neither a bool nor one for each of the n, or the world has no schedule.
        """
        where = np.asarray(new_lifetime)
        if where.dtype != np.bool_ or where.shape not in ((), (self.world.num,)):
            expected = f"a bool, or {self.world.num} of them"
            raise ValueError(f"options['new_lifetime'] must be {expected}, got {new_lifetime!r}")
        if self.progress is None:
            raise ValueError("this world has no lifetimes: make it with lifetime={'schedule': ...}")

    def task(self, index: int) -> Task:
        """A copy of the task that simulation ``index`` is in, or will be in after the reset it awaits.

        Raises:
            ResetNeeded: If none was set and none was drawn yet.
        """
        task, pinned = self._tasks[index], self._pinned[index]
        if self._pending[index] and pinned is not None:
            task = pinned[0][1]
        if task is None:
            raise ResetNeeded("no task yet: set one with set_task(), or call reset() to draw one")
        return copy.deepcopy(task)

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> Floats:
        """Start new episodes.

        Args:
            ids: Simulations, sorted and unique.
            rngs: A generator for each, which draws the initial state, and before it the task if none is pinned and no
                schedule gives one.

        Returns:
            First observations, (len(ids), D).
        """
        world = self.world
        courses = {index: self._course(index, rng) for index, rng in zip(ids.tolist(), rngs, strict=True)}
        self._change({index: course[0][1] for index, course in courses.items()})
        self._look_ahead({index: course[1:] for index, course in courses.items()})
        self._changed[ids] &= ~self._fresh[ids]
        self._fresh[ids] = False
        world.begin(ids, rngs)
        self.elapsed[ids] = 0
        self._pending[ids] = False
        self._must_reset = bool(self._pending.any())
        first = world.observe(ids)
        self._last[ids] = first
        return first

    def _course(self, index: int, rng: np.random.Generator) -> Course:
        """What the next episode of a simulation goes through."""
        pinned, progress = self._pinned[index], self.progress
        if progress is None:
            return [(0, self.world.tasks.sample(1, "train", rng)[0])] if pinned is None else pinned
        progress.root(index, rng)
        if pinned is None:
            return progress.enter(index)
        progress.leave(index)
        return pinned

    def _look_ahead(self, ahead: dict[int, Course]) -> None:
        """Note which tasks are still to begin in the episodes of simulations."""
        for index, course in ahead.items():
            self._ahead[index] = course
            self._next_change[index] = course[0][0] if course else NEVER
        self._changes_ahead = any(self._ahead)

    def _switch(self, rows: NDArray[np.intp]) -> None:
        """Go on with the next tasks of the episodes of simulations where they are due."""
        self._changed[...] = False
        if not self._changes_ahead:
            return
        due = rows[self.elapsed[rows] == self._next_change[rows]].tolist()
        if due:
            self._change({index: self._ahead[index][0][1] for index in due})
            self._look_ahead({index: self._ahead[index][1:] for index in due})

    def _change(self, tasks: dict[int, Task]) -> None:
        """Give simulations their tasks, and note which are new to them."""
        new = {index: task for index, task in tasks.items() if task != self._tasks[index]}
        for index, task in new.items():
            self._tasks[index] = task
            if self.progress is not None:
                self._task_ids[index] = task_id(task)
        if new:
            self.world.apply(np.array(list(new)), list(new.values()))
        self._changed[list(tasks)] = [index in new for index in tasks]

    def about(self, index: int) -> dict[str, Any]:
        """What the info of a reset says of a simulation: its task, and where it is in its lifetime."""
        info: dict[str, Any] = {"task": self.task(index)}
        if self.progress is not None:
            info["lifetime"] = int(self.progress.lifetime[index])
            info["episode_index"] = int(self.progress.episode[index])
            info["task_id"] = int(self._task_ids[index])
            if self.progress.round is not None:
                info["round_index"] = int(self.progress.round[index])
            info["lifetime_end"] = False
            info["task_changed"] = bool(self._changed[index])
        return info

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
        self._switch(self._all if ids is None else ids)
        outcome = self.world.advance(clipped, ids)
        reward = sum(outcome.terms.values())
        self.elapsed += 1
        truncated = (self.elapsed >= self.world.horizon) & ~outcome.terminated
        observation = self.world.observe()
        diverged = self._nowhere
        if outcome.diverged is not None:
            diverged = outcome.diverged
            self.num_diverged += int(diverged.sum())
            observation[diverged] = self._last[diverged]
        values = {**outcome.terms, **outcome.measures, "diverged": diverged}
        if self.progress is not None:
            values["lifetime"] = self.progress.lifetime.copy()
            values["episode_index"] = self.progress.episode.copy()
            values["task_id"] = self._task_ids.copy()
            if self.progress.round is not None:
                values["round_index"] = self.progress.round
            values["lifetime_end"] = self.progress.ends(outcome.terminated | truncated)
            values["task_changed"] = self._changed.copy()
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

    def get_state(self, rngs: list[np.random.Generator]) -> dict[str, Any]:
        """Everything needed to go on exactly from here: physics, clocks, tasks, lifetimes, last observations.

        Args:
            rngs: The generator of each simulation; their own states are for the caller to keep.
        """
        return {
            "progress": None if self.progress is None else self.progress.get_state(rngs),
            "fresh": self._fresh.copy(),
            "world": copy.deepcopy(self.world.get_state()),
            "elapsed": self.elapsed.copy(),
            "tasks": copy.deepcopy(self._tasks),
            "task_ids": self._task_ids.copy(),
            "pinned": copy.deepcopy(self._pinned),
            "ahead": copy.deepcopy(self._ahead),
            "pending": self._pending.copy(),
            "last": self._last.copy(),
            "num_diverged": self.num_diverged,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave, here or in another instance made with the same arguments.

        Raises:
            ValueError: If the state is of another number of simulations, or only one of the two has lifetimes.
        """
        if len(state["elapsed"]) != self.world.num:
            raise ValueError(f"state of {len(state['elapsed'])} simulations, but there are {self.world.num}")
        if (self.progress is None) != (state["progress"] is None):
            raise ValueError(
                "a state with lifetimes is for a world made with the same lifetime=, and only for that"
            )
        if self.progress is not None:
            self.progress.set_state(state["progress"])
        self._fresh[...] = state["fresh"]
        self._tasks = copy.deepcopy(state["tasks"])
        self._task_ids[...] = state["task_ids"]
        self._pinned = copy.deepcopy(state["pinned"])
        self._look_ahead(dict(enumerate(copy.deepcopy(state["ahead"]))))
        known = [index for index, task in enumerate(self._tasks) if task is not None]
        if known:
            self.world.apply(np.array(known), [self._tasks[index] for index in known])
        self.world.set_state(state["world"])
        self.elapsed[...] = state["elapsed"]
        self._pending[...] = state["pending"]
        self._must_reset = bool(self._pending.any())
        self._last[...] = state["last"]
        self.num_diverged = state["num_diverged"]
