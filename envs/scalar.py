"""One simulation of a world, as a `gymnasium.Env`."""

from typing import Any

import gymnasium
import numpy as np

from metarl.envs import faces
from metarl.envs.episodes import Episodes
from metarl.envs.lifetimes import Course, Schedule
from metarl.envs.rendering import Screen
from metarl.envs.task_distributions import Task, TaskDistribution


class WorldEnv(gymnasium.Env):
    """One simulation of a world.

    Made by ``gymnasium.make(id, **arguments)``; the world's own class says what its arguments mean.

    Args:
        world: ``"module:class"`` of the world, filled in by its id.
        render_mode: ``"rgb_array"``, ``"human"`` or None.
        width: Width of a picture in pixels.
        height: Height of a picture in pixels.
        num_threads: Of no use to one simulation; taken so that both faces take the same arguments.
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
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        num_threads: int | None = 1,
        lifetime: Schedule | dict[str, Any] | str | None = None,
        restart_on_seed: bool = True,
        **arguments: Any,
    ):
        faces.check_render_mode(render_mode)
        self._arguments = dict(
            world=world,
            render_mode=render_mode,
            width=width,
            height=height,
            lifetime=lifetime,
            restart_on_seed=restart_on_seed,
            **arguments,
        )
        self.world = faces.make_world(world, 1, 1, lifetime, arguments)
        self.observation_space, self.action_space = faces.spaces(self.world)
        self.metadata = {**self.metadata, "render_fps": round(1 / self.world.dt)}
        self.render_mode, self.horizon = render_mode, self.world.horizon
        self._episodes = Episodes(self.world, restart_on_seed)
        self._screen = Screen(width, height)
        self._ended = False

    @property
    def tasks(self) -> TaskDistribution:
        """The world's task distribution."""
        return self.world.tasks

    @property
    def num_diverged(self) -> int:
        """How many episodes ended because the physics broke down."""
        return self._episodes.num_diverged

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

    def set_task(self, task: Task | Course | None) -> None:
        """Pin a task from the next reset on, which must come before any step.

        In place of a task may stand what each episode goes through, such as ``[(0, task), (100, other)]``. None goes on
        with the schedule of lifetimes, or without one draws anew each time.
        """
        self._episodes.pin([task], [0])

    def get_task(self) -> Task:
        """The task at hand, or the one that was set and awaits its reset."""
        return self._episodes.task(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode.

        Args:
            seed: Starts anew, with the first lifetime if there is a schedule, unless the world was made with
                ``restart_on_seed=False``.
            options: ``{"task": task}`` is ``set_task(task)`` before the reset; ``{"new_lifetime": True}`` begins the
                next lifetime.
        """
        options = options or {}
        if "task" in options:
            self.set_task(options["task"])
        if "new_lifetime" in options:
            self._episodes.check_skip(options["new_lifetime"])
        super().reset(seed=seed)
        if seed is not None:
            self._episodes.restart(0)
        if "new_lifetime" in options:
            self._episodes.skip(np.arange(1), options["new_lifetime"])
        observation = self._episodes.begin(np.arange(1), [self.np_random])[0]
        self._ended = False
        if self.render_mode == "human":
            self.render()
        return observation, self._episodes.about(0)

    def step(self, action):
        """One control step.

        Raises:
            gymnasium.error.ResetNeeded: After an episode has ended, or a task was set, without a reset.
        """
        if self._ended and not self._episodes.pending:
            raise gymnasium.error.ResetNeeded("the episode has ended: call reset()")
        step = self._episodes.advance(np.asarray(action)[None])
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        self._ended = terminated or truncated
        if self.render_mode == "human":
            self.render()
        info = {key: value[0].item() for key, value in step.values.items()}
        return step.observation[0], float(step.reward[0]), terminated, truncated, info

    def render(self):
        """An (height, width, 3) uint8 picture, or in the mode ``"human"`` the window brought up to date."""
        return self._screen.show(self.world, 0, self.render_mode)

    def close(self) -> None:
        """Free what draws; harmless when repeated."""
        self._screen.close()

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        rng, episodes = self.np_random.bit_generator.state, self._episodes.get_state([self.np_random])
        return {"episodes": episodes, "rng": rng, "seed": self.np_random_seed, "ended": self._ended}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self._episodes.set_state(state["episodes"])
        self.np_random.bit_generator.state = state["rng"]
        self._np_random_seed = state["seed"]
        self._ended = state["ended"]

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
