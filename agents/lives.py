"""What an agent did over lifetimes: sequences of episodes whose task changes from one to the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv


@dataclass(frozen=True)
class Lives:
    """Lifetimes lived side by side by copies of one agent."""

    returns: np.ndarray
    """Undiscounted return of every episode, shape (lifetimes, episodes)."""
    measures: dict[str, np.ndarray] = field(default_factory=dict)
    """Further numbers of every episode by name, shape (lifetimes, episodes) each: `speed` (m/s), `score` (1 won, -1
    lost), `effective_sample_size`, `inner_kl`."""
    actions: np.ndarray | None = None
    """What was done, if it was asked for: shape (lifetimes, episodes, steps, A)."""


MEASURES = {"forward_velocity": "speed", "score": "score"}
"""What worlds may tell of each step, and what it is called of an episode."""


class Tally:
    """What a world told of the steps of n episodes.

    `speed` is the mean of the steps' `forward_velocity`, m/s; `score` their sum: 1 for a match won, -1 for one lost.

    Args:
        num: n.
    """

    def __init__(self, num: int):
        self._steps = np.zeros(num)
        self._sums: dict[str, np.ndarray] = {}

    def add(self, info: dict[str, Any]) -> None:
        """Take in a step."""
        for told, name in MEASURES.items():
            if told in info:
                self._sums.setdefault(name, np.zeros(len(self._steps)))[...] += info[told]
                if name == "speed":
                    self._steps += info[f"_{told}"]

    def of(self, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Of the episodes at hand, by name; only what the world tells."""
        found = {name: sums[rows].copy() for name, sums in self._sums.items()}
        if "speed" in found:
            found["speed"] /= np.maximum(self._steps[rows], 1)
        return found

    def clear(self, rows: np.ndarray | slice = slice(None)) -> None:
        """Begin new episodes."""
        self._steps[rows] = 0
        for sums in self._sums.values():
            sums[rows] = 0


class Watched:
    """A world without autoreset that remembers how its episodes went.

    Attributes:
        last_obs: Last observations, (T, D).
        cut: Which episodes ended by their time limit only, (T,).
    """

    def __init__(self, env: VectorEnv):
        self.env = env
        self.num_envs, self.horizon = env.num_envs, env.horizon
        self.single_action_space = env.single_action_space

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start episodes."""
        self._tally = Tally(self.num_envs)
        return self.env.reset(**arguments)

    def step(self, actions: np.ndarray) -> tuple:
        """One step."""
        result = self.env.step(actions)
        self.last_obs, _, terminated, truncated, info = result
        self.cut = truncated & ~terminated
        self._tally.add(info)
        return result

    def measures(self) -> dict[str, np.ndarray]:
        """What the world told of each episode, (T,) each; see `Tally`."""
        return self._tally.of()


def tasks_of(episode: dict | Sequence[tuple[int, dict]]) -> list[tuple[int, dict]]:
    """The tasks of an episode of a lifetime, each after the step at which it begins; most episodes have one."""
    return [(0, episode)] if isinstance(episode, dict) else list(episode)


def episode_seeds(rng: np.random.Generator, lifetimes: int, episodes: int) -> np.ndarray:
    """Seeds of the initial states, to be drawn before anything else: all methods then start alike.

    Returns:
        Shape (episodes, lifetimes).
    """
    return rng.integers(2**31, size=(episodes, lifetimes))


def label(lifetime: Sequence[dict]) -> str:
    """What stays the same through a lifetime, as a short name: "legs 1 2"; "" if nothing does."""
    first, *others = (task for episode in lifetime for _, task in tasks_of(episode))
    kept = {key: value for key, value in first.items() if all(task[key] == value for task in others)}
    parts = []
    for key, value in kept.items():
        entries = np.ravel(np.asarray(value))[:6].tolist()
        parts.append(" ".join([key, *(each if isinstance(each, str) else f"{each:g}" for each in entries)]))
    return ", ".join(parts)


def lifetime_metrics(lives: Lives, lifetimes: Sequence[Sequence[dict]]) -> dict[str, float]:
    """Means over lifetimes, to be logged.

    Args:
        lives: What was done.
        lifetimes: In what tasks.

    Returns:
        `lifetime/return_1` .. and, where lifetimes have names and few of them, `lifetime/<name>/return_1` ..; the
        measures likewise, `lifetime/<measure>_2` .., without those of episodes that have none.
    """
    names = [label(each) for each in lifetimes]
    groups = {"": np.arange(len(names))}
    if all(names) and len(set(names)) <= 20:
        groups |= {f"{name}/": np.flatnonzero(np.array(names) == name) for name in sorted(set(names))}
    metrics = {
        f"lifetime/{group}return_{e + 1}": float(lives.returns[rows, e].mean())
        for group, rows in groups.items()
        for e in range(lives.returns.shape[1])
    }
    for name, value in lives.measures.items():
        for e in np.flatnonzero(~np.isnan(value).all(0)):
            metrics[f"lifetime/{name}_{e + 1}"] = float(np.nanmean(value[:, e]))
    return metrics
