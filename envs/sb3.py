"""Worlds as Stable-Baselines3 wants them; the only module here that knows of it."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from metarl.envs.vector import WorldVectorEnv
from metarl.names import unknown

KNOWN = ("task", "new_lifetime")
"""Options of a reset that simulations may have each for itself."""
SETTABLE = ("shaping",)
"""Attributes of a world that may be set while it runs."""


class SB3VecEnv(VecEnv):
    """A vector face in autoreset mode ``SAME_STEP``, as a `VecEnv`.

    Observations are float32, as Stable-Baselines3's policies are. `env_method("set_task", task)` sets one
    task in all simulations, with `indices` in those; it begins at their next reset, which the caller must
    ask for by :meth:`reset`.

    Args:
        env: Made by `gymnasium.make_vec`, or its `unwrapped`.

    Raises:
        ValueError: If the environment is none of ours, or in another autoreset mode.
    """

    def __init__(self, env: VectorEnv):
        inner = env.unwrapped
        if not isinstance(inner, WorldVectorEnv):
            raise ValueError(
                f"expected a vector environment of a world of metarl, got {type(inner).__name__}"
            )
        if inner.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"expected autoreset_mode='SameStep', got '{inner.autoreset_mode.value}'")
        self.env = inner
        self.render_mode = inner.render_mode
        size = inner.single_observation_space.shape
        space = gymnasium.spaces.Box(-np.inf, np.inf, size, np.float32)
        self._actions: Any = None
        super().__init__(inner.num_envs, space, inner.single_action_space)
        self.metadata = inner.metadata

    def reset(self):
        """Start episodes with the seeds and options that were set; (n, D) float32."""
        seeds = list(self._seeds)
        seed = None if all(each is None for each in seeds) else seeds
        observation, info = self.env.reset(seed=seed, options=self._gathered())
        self.reset_infos = _rows(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observation.astype(np.float32)

    def _gathered(self) -> dict[str, Any]:
        """The options of all simulations as those of one reset; tasks are pinned on the way.

        Raises:
            ValueError: If there are others than `task` and `new_lifetime`.
        """
        for name in dict.fromkeys(chain.from_iterable(self._options)):
            if name not in KNOWN:
                raise unknown("option of a reset", name, KNOWN)
        given = [index for index, each in enumerate(self._options) if "task" in each]
        self.env.set_task_of(given, [self._options[index]["task"] for index in given])
        if not any("new_lifetime" in each for each in self._options):
            return {}
        return {"new_lifetime": [each.get("new_lifetime", False) for each in self._options]}

    def step_async(self, actions):
        """Keep the actions, (n, A)."""
        self._actions = actions

    def step_wait(self):
        """Step; (n, D) float32, (n,) float32, (n,) bool, and a dict for each simulation."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        final, final_info = info.pop("final_obs", None), info.pop("final_info", {})
        info.pop("_final_obs", None), info.pop("_final_info", None)
        infos, done = _rows(info, self.num_envs), terminated | truncated
        for index in np.flatnonzero(done).tolist():
            self.reset_infos[index] = infos[index]
            infos[index] = _row(final_info, index)
            infos[index]["terminal_observation"] = final[index].astype(np.float32)
            infos[index]["TimeLimit.truncated"] = bool(truncated[index] and not terminated[index])
        return observation.astype(np.float32), reward.astype(np.float32), done, infos

    def close(self):
        """Free what draws."""
        self.env.close()

    def get_images(self):
        """A picture of each simulation."""
        return self.env.render() if self.render_mode == "rgb_array" else []

    def render(self, mode: str | None = None):
        """All pictures tiled into one, or the window brought up to date."""
        return self.env.render() if self.render_mode == "human" else super().render(mode)

    def get_attr(self, attr_name: str, indices=None) -> list[Any]:
        """An attribute of the environment, once for each index."""
        rows = self._get_indices(indices)
        if attr_name in ("np_random", "np_random_seed"):
            values = getattr(self.env, attr_name)
            return [values[index] for index in rows]
        place = self.env.world if attr_name in SETTABLE else self.env
        return [getattr(place, attr_name)] * len(list(rows))

    def set_attr(self, attr_name: str, value: Any, indices=None) -> None:
        """Set what may be changed of a world: `shaping`, the weight of the rewards for trying, of those that have them.

        Raises:
            ValueError: If the world has no such attribute that may be set, or it is for some simulations only.
        """
        if attr_name not in SETTABLE or not hasattr(self.env.world, attr_name):
            raise ValueError(
                f"'{attr_name}' cannot be set: make the world with other arguments, or use env_method('set_task', task)"
            )
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"simulations share the attribute '{attr_name}': it can only be set for all of them"
            )
        setattr(self.env.world, attr_name, value)

    def env_method(self, method_name: str, *method_args, indices=None, **method_kwargs) -> list[Any]:
        """Call `set_task`, `get_task`, `sample_tasks` ... once for each index."""
        rows = list(self._get_indices(indices))
        if method_name == "set_task":
            (task,) = method_args or method_kwargs.values()
            self.env.set_task_of(rows, [task] * len(rows))
            return [None] * len(rows)
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        if method_name in ("get_task", "render"):
            return [result[index] for index in rows]
        return [result] * len(rows)

    def env_is_wrapped(self, wrapper_class, indices: Sequence[int] | int | None = None) -> list[bool]:
        """No simulation is wrapped in anything."""
        return [False] * len(list(self._get_indices(indices)))


def as_sb3(env: VectorEnv | str, num_envs: int = 1, **arguments: Any) -> SB3VecEnv:
    """A world for Stable-Baselines3.

    Args:
        env: A vector environment of ours, or the id of a world to make one of.
        num_envs: Number of simulations, for an id.
        **arguments: Of the world, for an id.

    Returns:
        What an algorithm of Stable-Baselines3 takes as its environment.
    """
    if isinstance(env, str):
        env = gymnasium.make_vec(env, num_envs=num_envs, vectorization_mode="vector_entry_point", **arguments)
    return SB3VecEnv(env)


def _rows(info: dict[str, Any], num: int) -> list[dict[str, Any]]:
    """Gymnasium's dict of arrays as a list of dicts."""
    columns = [
        (key, info[f"_{key}"].tolist(), value if isinstance(value, dict) else value.tolist())
        for key, value in info.items()
        if not key.startswith("_")
    ]
    rows: list[dict[str, Any]] = [{} for _ in range(num)]
    for key, masks, values in columns:
        for index, there in enumerate(masks):
            if there:
                rows[index][key] = _row(values, index) if isinstance(values, dict) else values[index]
    return rows


def _row(info: dict[str, Any], index: int) -> dict[str, Any]:
    """What a dict of arrays says of one simulation."""
    row = {}
    for key, value in info.items():
        if not key.startswith("_") and info[f"_{key}"][index]:
            item = _row(value, index) if isinstance(value, dict) else value[index]
            row[key] = item.item() if isinstance(item, np.generic) else item
    return row
