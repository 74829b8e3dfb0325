"""Whole lifetimes as Stable-Baselines3 sees them: each one long episode, whose tasks change on the way.

Legend: T simulations, each in a lifetime of its own, E episodes, D observation size, A action size.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from metarl.agents.lives import Tally


def with_feedback(
    obs: np.ndarray, action: np.ndarray, reward: np.ndarray, terminated: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """What RL^2 observes: beside the observation, what it did last and what came of it.

    Args:
        obs: Observations, shape (T, D).
        action: Last actions in [-1, 1], (T, A); zeros at the start of a lifetime, as the next two.
        reward: Last rewards, (T,).
        terminated: Whether the last step ended its episode, other than by the time limit, (T,).
        start: Whether an episode starts here, (T,).

    Returns:
        Shape (T, D + A + 3), float32.
    """
    numbers = [np.asarray(each, dtype=np.float32)[:, None] for each in (reward, terminated, start)]
    return np.concatenate([obs, action, *numbers], axis=1, dtype=np.float32)


def feedback_size(actions: int) -> int:
    """How many numbers `with_feedback` adds to an observation, by those of an action."""
    return actions + 3


class LifetimeVecEnv(VecEnv):
    """Simulations that each go through the episodes of a lifetime, and then through the same lifetime again.

    Only the end of a lifetime is told as `done`: returns, values and memory reach over the ends of its episodes. If the
    last episode ran into its time limit, so did the lifetime, and Stable-Baselines3 adds the value of what would come.

    Args:
        env: A world without autoreset, as `metarl.agents.rollouts.make_world` gives it.
        feedback: Observe what `with_feedback` gives, instead of the world's observation alone.

    Attributes:
        returns: Undiscounted return of every episode of the first lifetime, NaN before its end, (T, E).
        lengths: Their steps, (T, E).
        episode: Number of the episode in its lifetime, from 0, (T,).
        elapsed: Steps done in it, (T,).
    """

    def __init__(self, env: VectorEnv, feedback: bool = False):
        self.env, self.feedback = env, feedback
        self.render_mode = None
        size = env.single_observation_space.shape[0]
        self._actions = np.zeros((env.num_envs, *env.single_action_space.shape), dtype=np.float32)
        if feedback:
            size += feedback_size(self._actions.shape[1])
        space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(env.num_envs, space, env.single_action_space)

    def begin(self, lifetimes: Sequence[Sequence[dict]], seeds: np.ndarray) -> None:
        """Set what the next reset starts.

        Args:
            lifetimes: T equally long lists of tasks.
            seeds: Of the initial states, shape (E, T).
        """
        self.lifetimes = lifetimes
        self._starts = np.asarray(seeds, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Start the lifetimes that were set; (T, D) float32."""
        T, E = self.num_envs, len(self.lifetimes[0])
        self.returns, self.lengths = (np.full((T, E), np.nan) for _ in range(2))
        self._tally, self._measures = Tally(T), {}
        self.episode, self._round = np.zeros(T, dtype=np.int64), np.zeros(T, dtype=np.int64)
        self.elapsed = np.zeros(T, dtype=np.int64)
        self._total = np.zeros(T)
        self._last_action = np.zeros_like(self._actions)
        self._last_reward, self._last_terminated = np.zeros(T), np.zeros(T)
        everywhere = np.ones(T, dtype=bool)
        return self._observed(self._start(everywhere), everywhere)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, (T, A)."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; where an episode ends, the next one starts."""
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        self.elapsed += 1
        self._total += reward
        self._tally.add(info)
        self._last_action, self._last_reward, self._last_terminated = self._actions, reward, terminated
        over = terminated | truncated
        seen = self._observed(obs, np.zeros(self.num_envs))
        done = np.zeros(self.num_envs, dtype=bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if over.any():
            done = over & (self.episode == len(self.lifetimes[0]) - 1)
            for i in np.flatnonzero(done):
                limited = bool(truncated[i] and not terminated[i])
                infos[i] = {"terminal_observation": seen[i].copy(), "TimeLimit.truncated": limited}
            seen[over] = self._next(over, done)[over]
        return seen, reward.astype(np.float32), done, infos

    def _next(self, over: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Book the episodes that are over, start what follows on them, and observe it."""
        rows = np.flatnonzero(over & (self._round == 0))
        at = (rows, self.episode[rows])
        self.returns[at], self.lengths[at] = self._total[rows], self.elapsed[rows]
        for name, value in self._tally.of(rows).items():
            self._measures.setdefault(name, np.full(self.returns.shape, np.nan))[at] = value
        self._tally.clear(over)
        self._total[over] = self.elapsed[over] = 0
        self.episode[over] += 1
        self.episode[done] = 0
        self._round[done] += 1
        self._last_action = np.where(done[:, None], 0, self._last_action)
        self._last_reward = np.where(done, 0, self._last_reward)
        self._last_terminated = np.where(done, 0, self._last_terminated)
        return self._observed(self._start(over), over)

    def measures(self) -> dict[str, np.ndarray]:
        """What the world told of every episode of the first lifetime, (T, E) each; see `metarl.agents.lives.Tally`."""
        return dict(self._measures)

    def _start(self, rows: np.ndarray) -> np.ndarray:
        """Start the episodes at hand where `rows` is true; observations of all."""
        seeds = (self._starts[self.episode, np.arange(self.num_envs)] + self._round) % 2**31
        tasks = [life[e] for life, e in zip(self.lifetimes, self.episode, strict=True)]
        obs, _ = self.env.reset(seed=seeds.tolist(), options={"tasks": tasks, "reset_mask": rows})
        return obs

    def _observed(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        if not self.feedback:
            return obs.astype(np.float32)
        return with_feedback(obs, self._last_action, self._last_reward, self._last_terminated, start)

    def close(self) -> None:
        """Free what the world holds."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object or of the world, once for each index."""
        value = getattr(self if hasattr(self, attr_name) else self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the world, which all simulations share."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list:
        """Call a method of the world; what it returns, once for each index."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No simulation is wrapped in anything."""
        return [False for _ in self._get_indices(indices)]
