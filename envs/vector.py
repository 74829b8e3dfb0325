"""n simulations of a world, as a `gymnasium.vector.VectorEnv`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from metarl.envs import faces
from metarl.envs.episodes import Episodes
from metarl.envs.lifetimes import Course, Schedule, is_course
from metarl.envs.rendering import Screen
from metarl.envs.task_distributions import Task, TaskDistribution


class WorldVectorEnv(VectorEnv):
    """n simulations of a world, stepped in C++ threads.

    Made by ``gymnasium.make_vec(id, num_envs=n, **arguments)``. Equal, bit for bit, to Gymnasium's
    ``SyncVectorEnv`` of n :class:`WorldEnv` in every mode of autoreset but one: ``DISABLED``, where that one
    goes on with finished simulations, and this one freezes them until they are reset. A frozen simulation
    is not stepped, earns nothing, and keeps its observation and flags. Opponents that are no arrays but act by
    themselves are asked for n actions at once, which they may round in another way than one.

    Args:
        world: ``"module:class"`` of the world, filled in by its id.
        num_envs: Number of simulations.
        autoreset_mode: ``SAME_STEP`` (default), ``NEXT_STEP`` or ``DISABLED``.
        render_mode: ``"rgb_array"``, ``"human"`` (draws the first simulation) or None.
        width: Width of a picture in pixels.
        height: Height of a picture in pixels.
        num_threads: C++ threads; by default one for each core.
        lifetime: What the tasks of episodes follow where none is pinned: a schedule of :mod:`metarl.envs.lifetimes`, or
            its JSON form, such as ``{"schedule": "drift", "episodes": 10}``; by default the world's own, if it has any.
        restart_on_seed: Whether a reset with a seed begins lifetime 0. If not, it begins the next episode as any other
            reset does, and the seed is only for initial states; lifetimes follow the seed of the reset that began them.
        **arguments: Those of the world.
    """

    metadata = {"render_modes": list(faces.RENDER_MODES), "render_fps": 20}  # noqa: RUF012  Gymnasium's own form

    def __init__(
        self,
        world: str,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        num_threads: int | None = None,
        lifetime: Schedule | dict[str, Any] | str | None = None,
        restart_on_seed: bool = True,
        **arguments: Any,
    ):
        faces.check_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._arguments = dict(
            world=world,
            num_envs=num_envs,
            autoreset_mode=self.autoreset_mode.value,
            render_mode=render_mode,
            width=width,
            height=height,
            num_threads=num_threads,
            lifetime=lifetime,
            restart_on_seed=restart_on_seed,
            **arguments,
        )
        self.world = faces.make_world(world, num_envs, num_threads, lifetime, arguments)
        self.num_envs, self.render_mode, self.horizon = num_envs, render_mode, self.world.horizon
        self.single_observation_space, self.single_action_space = faces.spaces(self.world)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        fps = round(1 / self.world.dt)
        self.metadata = {**self.metadata, "render_fps": fps, "autoreset_mode": self.autoreset_mode}
        self._episodes = Episodes(self.world, restart_on_seed)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._seeds: list[int] = [-1] * num_envs
        self._terminated = np.zeros(num_envs, np.bool_)
        self._truncated = np.zeros(num_envs, np.bool_)
        self._finished = np.zeros(num_envs, np.bool_)
        self._everywhere = np.ones(num_envs, np.bool_)
        self._everywhere.flags.writeable = False  # handed out in every info
        self._screen = Screen(width, height)

    @property
    def tasks(self) -> TaskDistribution:
        """The world's task distribution."""
        return self.world.tasks

    @property
    def num_diverged(self) -> int:
        """How many episodes ended because the physics broke down."""
        return self._episodes.num_diverged

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The generator of each simulation."""
        return tuple(self._generators(range(self.num_envs)))

    @property
    def np_random_seed(self) -> tuple[int, ...]:
        """The seed of each simulation, -1 where none was asked for."""
        self._generators(range(self.num_envs))
        return tuple(self._seeds)

    def as_sb3(self):
        """This world as a Stable-Baselines3 `VecEnv` (see `metarl.envs.sb3.SB3VecEnv`)."""
        from metarl.envs.sb3 import SB3VecEnv

        return SB3VecEnv(self)

    def sample_tasks(
        self, num: int, split: str = "train", rng: np.random.Generator | int | None = None
    ) -> list[Task]:
        """Draw tasks from a split; see :meth:`TaskDistribution.sample`."""
        return self.tasks.sample(num, split, rng)

    def sample_lifetimes(
        self, num: int, split: str = "train", rng: np.random.Generator | int | None = None
    ) -> list[list[Task]] | list[list[Course]]:
        """Draw lifetimes from a split: what to pin for each episode; see :func:`metarl.envs.faces.sample_lifetimes`.

        Raises:
            ValueError: If the tasks follow no schedule.
        """
        return faces.sample_lifetimes(self.world, num, split, rng)

    def enumerate_lifetimes(self, split: str = "train") -> list[list[Task]] | list[list[Course]]:
        """Every lifetime of a split.

        Raises:
            ValueError: If they are too many, or the tasks follow no schedule.
        """
        return faces.enumerate_lifetimes(self.world, split)

    def set_task(self, task: Task | Course | Sequence[Task | Course | None] | None) -> None:
        """Pin one task, or a list of one for each simulation, from the next reset on.

        The reset must come before the next step. In place of a task may stand what each episode goes through, such as
        ``[(0, task), (100, other)]``. None goes on with the schedule of lifetimes, or without one draws a new training
        task at each reset.

        Raises:
            ValueError: If a list has another length than there are simulations, or a task is malformed.
        """
        one = task is None or isinstance(task, dict) or is_course(task)
        tasks = [task] * self.num_envs if one else list(task)
        if len(tasks) != self.num_envs:
            raise ValueError(
                f"expected one task or {self.num_envs}, one for each simulation, got {len(tasks)}"
            )
        self.set_task_of(range(self.num_envs), tasks)

    def set_task_of(self, rows: Sequence[int], tasks: Sequence[Task | Course | None]) -> None:
        """Pin the tasks of some simulations, one each or what each episode goes through, from their next reset on."""
        self._episodes.pin(tasks, rows)

    def get_task(self) -> list[Task]:
        """The task of each simulation, or the one that was set and awaits its reset."""
        return [self._episodes.task(index) for index in range(self.num_envs)]

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None):
        """Start episodes.

        Args:
            seed: One for each simulation, or s for the seeds s, s+1, s+2 ... Those that get one start anew, with their
                first lifetime unless the world was made with ``restart_on_seed=False``.
            options: ``{"task": task}`` or ``{"tasks": [task, ...]}`` set tasks first, as :meth:`set_task` does;
                ``{"reset_mask": mask}`` resets only the simulations where the mask (n,) is true;
                ``{"new_lifetime": True}``, or a mask (n,), begins the next lifetime.

        Returns:
            Observations (n, D), also of those that were not reset, and info.
        """
        options = options or {}
        ids = self._masked(options)
        self._pin_options(options, ids)
        if "new_lifetime" in options:
            self._episodes.check_skip(options["new_lifetime"])
        self._seed(seed, ids)
        if "new_lifetime" in options:
            self._episodes.skip(ids, options["new_lifetime"])
        info = self._begin(ids)
        self._terminated[ids] = self._truncated[ids] = self._finished[ids] = False
        if self.render_mode == "human":
            self.render()
        return self._episodes.observation(), info

    def _pin_options(self, options: dict[str, Any], ids: NDArray[np.intp]) -> None:
        """Set the tasks that a reset was given, of the simulations that are reset."""
        if "task" in options and "tasks" in options:
            raise ValueError("expected options 'task' (one for all) or 'tasks' (one each), got both")
        if "task" in options:
            self.set_task_of(ids.tolist(), [options["task"]] * len(ids))
        if "tasks" in options:
            tasks = options["tasks"]
            if len(tasks) != self.num_envs:
                raise ValueError(f"expected {self.num_envs} tasks, one for each simulation, got {len(tasks)}")
            self.set_task_of(ids.tolist(), [tasks[index] for index in ids])

    def step(self, actions):
        """One control step of all simulations, those that have finished as the mode of autoreset says."""
        match self.autoreset_mode:
            case AutoresetMode.SAME_STEP:
                result = self._step_same(actions)
            case AutoresetMode.NEXT_STEP:
                result = self._step_next(actions)
            case AutoresetMode.DISABLED:
                result = self._step_disabled(actions)
        if self.render_mode == "human":
            self.render()
        return result

    def _step_same(self, actions):
        step = self._episodes.advance(actions)
        finished = step.terminated | step.truncated
        if not finished.any():
            info = _with_masks(step.values, self._everywhere)
            return step.observation, step.reward, step.terminated, step.truncated, info
        ids = np.flatnonzero(finished)
        final = np.full(self.num_envs, None, dtype=object)
        for index in ids:
            final[index] = step.observation[index].copy()
        info = _with_masks(step.values, ~finished)
        info["final_obs"], info["_final_obs"] = final, finished.copy()
        info["final_info"], info["_final_info"] = _with_masks(step.values, finished), finished.copy()
        info = self._begin(ids, info)
        step.observation[ids] = self._episodes.observation(ids)
        return step.observation, step.reward, step.terminated, step.truncated, info

    def _step_next(self, actions):
        if not self._finished.any():
            step = self._episodes.advance(actions)
            info = _with_masks(step.values, self._everywhere)
        else:
            over, going = np.flatnonzero(self._finished), np.flatnonzero(~self._finished)
            step = self._episodes.advance(actions, going)
            info = self._begin(over, _with_masks(step.values, ~self._finished))
            step.observation[over] = self._episodes.observation(over)
        self._finished = step.terminated | step.truncated
        return step.observation, step.reward, step.terminated, step.truncated, info

    def _step_disabled(self, actions):
        if not self._finished.any():
            step = self._episodes.advance(actions)
            info = _with_masks(step.values, self._everywhere)
            self._terminated, self._truncated = step.terminated, step.truncated
        else:
            step = self._episodes.advance(actions, np.flatnonzero(~self._finished))
            info = _with_masks(step.values, ~self._finished)
            self._terminated = self._terminated | step.terminated
            self._truncated = self._truncated | step.truncated
        self._finished = self._terminated | self._truncated
        return step.observation, step.reward, self._terminated.copy(), self._truncated.copy(), info

    def _begin(self, ids: NDArray[np.intp], info: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start episodes; the info of their resets is added to what is there."""
        self._episodes.begin(ids, self._generators(ids.tolist()))
        info = {} if info is None else info
        for index in ids.tolist():
            info = self._add_info(info, self._episodes.about(index), index)
        return info

    def _masked(self, options: dict[str, Any]) -> NDArray[np.intp]:
        """The simulations to be reset."""
        mask = options.get("reset_mask")
        if mask is None:
            return np.arange(self.num_envs)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            expected = f"a boolean array of shape ({self.num_envs},) that is true somewhere"
            raise ValueError(f"options['reset_mask'] must be {expected}, got {mask!r}")
        return np.flatnonzero(mask)

    def _seed(self, seed: int | Sequence[int | None] | None, ids: Iterable[int]) -> None:
        if seed is None:
            return
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + index for index in range(self.num_envs)]
        if not isinstance(seed, Sequence | np.ndarray) or len(seed) != self.num_envs:
            raise ValueError(f"expected one seed or {self.num_envs}, one for each simulation, got {seed!r}")
        for index in ids:
            if seed[index] is not None:
                self._rngs[index], self._seeds[index] = np_random(int(seed[index]))
                self._episodes.restart(index)

    def _generators(self, rows: Iterable[int]) -> list[np.random.Generator]:
        for index in rows:
            if self._rngs[index] is None:
                self._rngs[index], _ = np_random()
        return [self._rngs[index] for index in rows]

    def render(self):
        """One picture for each simulation, or in the mode ``"human"`` the first one in a window."""
        if self.render_mode == "human":
            return self._screen.show(self.world, 0, "human")
        return tuple(self._screen.show(self.world, index, self.render_mode) for index in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Free what draws."""
        self._screen.close()

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        return {
            "episodes": self._episodes.get_state(list(self.np_random)),
            "rngs": [rng.bit_generator.state for rng in self.np_random],
            "seeds": list(self._seeds),
            "terminated": self._terminated.copy(),
            "truncated": self._truncated.copy(),
            "finished": self._finished.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self._episodes.set_state(state["episodes"])
        for rng, saved in zip(self.np_random, state["rngs"], strict=True):
            rng.bit_generator.state = saved
        self._seeds = list(state["seeds"])
        self._terminated = state["terminated"].copy()
        self._truncated = state["truncated"].copy()
        self._finished = state["finished"].copy()

    def __getstate__(self):
        opponents = self.tasks if hasattr(self.tasks, "adopt") else None
        saved = {"arguments": self._arguments, "state": self.get_state(), "spec": self.spec}
        return saved | {"opponents": opponents}

    def __setstate__(self, saved):
        self.__init__(**saved["arguments"])
        if saved["opponents"] is not None:  # some may have been added since
            self.tasks.adopt(saved["opponents"])
        self.set_state(saved["state"])
        self.spec = saved["spec"]


def _with_masks(values: dict[str, NDArray[Any]], where: NDArray[np.bool_]) -> dict[str, Any]:
    """Gymnasium's vector form of info: zeros and a false mask where there is nothing to say."""
    if not where.any():
        return {}
    everywhere = where.all()
    if not everywhere:
        values = {key: np.where(where, value, value.dtype.type(0)) for key, value in values.items()}
    info: dict[str, Any] = dict(values)
    for key in values:
        info[f"_{key}"] = where if everywhere else where.copy()  # the infos of resets are added to these
    return info
