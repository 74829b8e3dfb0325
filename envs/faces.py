"""What both faces of a world share: how it is made, its spaces, its lifetimes.

The faces are `gymnasium.Env` (:mod:`metarl.envs.scalar`) and `gymnasium.vector.VectorEnv` (:mod:`metarl.envs.vector`).
Both are thin: observation, reward and task are the world's, clocks and randomness are those of
:class:`metarl.envs.episodes.Episodes`; so the two agree bit for bit.
"""

import inspect
import math
from collections.abc import Sequence
from importlib import import_module
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from metarl.envs.lifetimes import Course, Schedule, as_schedule
from metarl.envs.task_distributions import Task
from metarl.envs.world import World
from metarl.names import nearest, unknown

RENDER_MODES = ("human", "rgb_array")
OWN = ("num", "num_threads")


def make_world(
    world: str, num: int, num_threads: int | None, lifetime: Any, arguments: dict[str, Any]
) -> World:
    """Make a world from its place, ``"module:class"`` within this package.

    Args:
        world: Its place.
        num: Number of simulations.
        num_threads: C++ threads.
        lifetime: Schedule of lifetimes, or its JSON form; None for the world's own.
        arguments: The world's arguments.

    Raises:
        ValueError: If the class has no such argument, or there is no such schedule, or not for these tasks.
    """
    if isinstance(num, bool) or not isinstance(num, Integral) or num < 1:
        raise ValueError(f"num_envs must be a whole number from 1, got {num!r}")
    module, name = world.split(":")
    kind = getattr(import_module(f"metarl.envs.{module}"), name)
    check_arguments(kind, arguments, "lifetime", "restart_on_seed")
    made = kind(num=num, num_threads=num_threads, **arguments)
    if lifetime is not None:
        made.lifetime = as_schedule(lifetime)
    return made


def check_arguments(kind: type, arguments: dict[str, Any], *more: str) -> None:
    """Refuse arguments that a world does not have, and values that are no numbers or words where it wants those.

    Args:
        kind: Class of the world.
        arguments: Its arguments.
        more: Names of arguments that are known besides.

    Raises:
        ValueError: Naming the nearest, or what was expected.
    """
    parameters = inspect.signature(kind).parameters
    known = [*(key for key in parameters if key not in OWN), *more]
    for key, value in arguments.items():
        if key not in known:
            raise ValueError(f"unknown argument '{key}' for {kind.__name__}: {nearest(key, known)}")
        if key in parameters:
            _check_value(key, value, parameters[key].annotation)


def _check_value(key: str, value: Any, wanted: Any) -> None:
    number = not isinstance(value, bool | np.bool_)
    fits = {
        float: ("a finite number", number and isinstance(value, Real) and math.isfinite(value)),
        int: ("a whole number", number and isinstance(value, Integral)),
        bool: ("true or false", not number),
        str: ("a word", isinstance(value, str)),
        str | None: ("a word", value is None or isinstance(value, str)),
        tuple[float, float]: ("two numbers", _all_are(value, Real) and len(value) == 2),
        Sequence[str]: ("a list of words", _all_are(value, str)),
        str | Sequence[str]: ("a word or a list of words", isinstance(value, str) or _all_are(value, str)),
    }
    expected, fit = fits.get(wanted, ("", True))
    if not fit:
        raise ValueError(f"{key} must be {expected}, got {value!r}")


def _all_are(value: Any, kind: type) -> bool:
    """Whether something is a list whose members are all of a kind."""
    return isinstance(value, list | tuple | np.ndarray) and all(isinstance(each, kind) for each in value)


def check_render_mode(render_mode: str | None) -> None:
    """Refuse a way to draw that does not exist.

    Raises:
        ValueError: Naming the nearest.
    """
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise unknown("render mode", str(render_mode), RENDER_MODES)


def spaces(world: World) -> tuple[Box, Box]:
    """Observation space, float64 without bounds, and action space, float32 in [-1, 1]."""
    observation = Box(-np.inf, np.inf, (world.observation_size,), np.float64)
    return observation, Box(-1.0, 1.0, (world.action_size,), np.float32)


def _schedule(world: World) -> Schedule:
    """A world's schedule."""
    if world.lifetime is None:
        example = "lifetime={'schedule': 'redraw'}"
        raise ValueError(
            f"the tasks of {type(world).__name__} follow no schedule: give one, such as {example}"
        )
    return world.lifetime


def _episodes(world: World, lifetime: list[Task]) -> list[Task] | list[Course]:
    """A lifetime as it can be pinned, episode by episode."""
    schedule = _schedule(world)
    if schedule.every is None:
        return lifetime
    return [schedule.course(lifetime, number, world.horizon) for number in range(schedule.episodes)]


def sample_lifetimes(
    world: World, num: int, split: str, rng: np.random.Generator | int | None
) -> list[list[Task]] | list[list[Course]]:
    """Draw lifetimes of a world from a split.

    Returns:
        For each episode of each a task; or where tasks change within episodes, pairs of the step at which a task begins
        and the task. Either can be pinned.

    Raises:
        ValueError: If its tasks follow no schedule.
    """
    rng = np.random.default_rng(rng)
    return [_episodes(world, _schedule(world).draw(world.tasks, split, rng)) for _ in range(num)]


def enumerate_lifetimes(world: World, split: str) -> list[list[Task]] | list[list[Course]]:
    """Every lifetime of a split, as :func:`sample_lifetimes` gives them.

    Raises:
        ValueError: If they are too many, or the world's tasks follow no schedule.
    """
    return [_episodes(world, each) for each in _schedule(world).enumerate(world.tasks, split)]
