"""The opponents of n matches, acting at once.

Legend: n matches, D observation size, A action size, M memory.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.opponents import Floats, OpponentPolicy, act
from metarl.envs.symmetries import Canonical

Player = OpponentPolicy | Callable | Any | None
"""An opponent: arrays; a policy with `predict(observation, state, episode_start, deterministic)`, as those of
Stable-Baselines3 and of this suite; a callable that gives actions (n, A) for observations (n, D); None stands still."""


def check_player(player: Player) -> None:
    """Refuse what is no opponent.

    Raises:
        ValueError: Saying what would be one.
    """
    if not (
        player is None or isinstance(player, OpponentPolicy) or hasattr(player, "predict") or callable(player)
    ):
        expected = "'zero', a policy with predict(), a callable, or arrays"
        raise ValueError(f"an opponent is {expected}, got {type(player).__name__}")


@dataclass
class _Asked:
    """A player that is asked for the actions of all n matches, so that what it remembers may have any form."""

    player: Any
    rows: NDArray[np.intp]
    starts: NDArray[np.bool_]
    memory: Any = None

    def act(self, obs: NDArray, shape: tuple[int, int]) -> NDArray:
        if hasattr(self.player, "predict"):
            given, self.memory = self.player.predict(
                obs, state=self.memory, episode_start=self.starts.copy(), deterministic=True
            )
            self.starts[...] = False
        else:
            given = self.player(obs)
        given = np.asarray(given, dtype=np.float64)
        if given.shape != shape:
            raise ValueError(
                f"an opponent gave actions of shape {given.shape}, expected {shape} for observations of shape {obs.shape}"
            )
        if not math.isfinite(np.add.reduce(given, axis=None)):
            raise ValueError("an opponent gave actions that are no numbers")
        return np.clip(given[self.rows], -1.0, 1.0)


class Crew:
    """The opponents of n matches.

    Opponents that are arrays act with the noise of their policies, which follows from the seed of the match; those with
    `predict` are asked for their mean actions.

    Args:
        num: n.
        action_size: A.
        horizon: Steps of a match, for which the noise is drawn when it begins.
        body: Of these opponents, such as `Ant`; for policies that act in its canonical frame.
        deterministic: Whether policies act without their noise.
    """

    def __init__(self, num: int, action_size: int, horizon: int, body: str, deterministic: bool = False):
        self._deterministic = deterministic
        self._frame = Canonical(body)
        self._players: list[Player] = [None] * num
        self._noise = np.zeros((num, horizon, action_size), np.float32)
        self._memory = [np.zeros(0, np.float32)] * num
        self._elapsed = np.zeros(num, np.int64)
        self._stacks: list[tuple[NDArray[np.intp], dict[str, Floats]]] | None = None
        self._asked: dict[int, _Asked] = {}

    def assign(self, ids: NDArray[np.intp], players: Sequence[Player]) -> None:
        """Give matches their opponents; one that a match has already goes on as it was."""
        for index, player in zip(ids.tolist(), players, strict=True):
            if self._players[index] is player:
                continue
            self._players[index] = player
            self._memory[index] = _empty_memory(player)
            for asked in self._asked.values():
                asked.starts[index] = True
            self._stacks = None

    def begin(self, ids: NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Empty memories, and draw the noise of a match from its generator."""
        _, horizon, size = self._noise.shape
        for index, rng in zip(ids.tolist(), rngs, strict=True):
            if not self._deterministic:
                self._noise[index] = rng.standard_normal((horizon, size), dtype=np.float32)
            self._memory[index] = _empty_memory(self._players[index])
        for asked in self._asked.values():
            asked.starts[ids] = True
        self._elapsed[ids] = 0

    def act(self, obs: NDArray) -> NDArray[np.float64]:
        """Actions (n, A) in [-1, 1] for observations (n, D); the clocks of all matches go on by one.

        Raises:
            ValueError: A player gave actions of another shape, or that are no numbers.
        """
        num, horizon, size = self._noise.shape
        actions = np.zeros((num, size))
        steps = np.minimum(self._elapsed, horizon - 1)
        self._group()
        for rows, arrays in self._stacks or ():
            memory = np.stack([self._memory[row] for row in rows])
            noise = self._noise[rows, steps[rows]]
            if "canonical" in arrays:
                seen, chosen = self._frame.see(obs[rows])
                turned, after = act(arrays, seen, memory, noise)
                actions[rows] = self._frame.act(turned, chosen)
            else:
                actions[rows], after = act(arrays, obs[rows], memory, noise)
            for row, each in zip(rows, after, strict=True):
                self._memory[row] = each
        for asked in self._asked.values():
            actions[asked.rows] = asked.act(obs, (num, size))
        self._elapsed += 1
        return actions

    def _group(self) -> None:
        """Find who acts together: arrays of equal shapes as one stack, and every other player for all its matches."""
        if self._stacks is not None:
            return
        groups: dict[tuple, list[int]] = {}
        asked: dict[int, list[int]] = {}
        for row, player in enumerate(self._players):
            if isinstance(player, OpponentPolicy):
                groups.setdefault(player.signature, []).append(row)
            elif player is not None:
                asked.setdefault(id(player), []).append(row)
        self._stacks = []
        for rows in groups.values():
            policies = [self._players[row] for row in rows]
            arrays = {name: np.stack([each.arrays[name] for each in policies]) for name in policies[0].arrays}
            self._stacks.append((np.array(rows), arrays))
        known, starts = self._asked, np.ones(len(self._players), np.bool_)
        self._asked = {}
        for key, rows in asked.items():
            # One that nobody meets any more is forgotten: what it remembers may not depend on the past of its world.
            self._asked[key] = known.get(key) or _Asked(self._players[rows[0]], np.array(rows), starts.copy())
            self._asked[key].rows = np.array(rows, dtype=np.intp)

    def get_state(self) -> dict[str, Any]:
        """Memories, clocks and the noise to come."""
        self._group()
        return {
            "memory": [each.copy() for each in self._memory],
            "elapsed": self._elapsed.copy(),
            "noise": self._noise.copy(),
            "asked": {
                int(each.rows[0]): (each.starts.copy(), copy.deepcopy(each.memory))
                for each in self._asked.values()
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_state` gave; the opponents must have been assigned."""
        self._group()
        self._memory = [each.copy() for each in state["memory"]]
        self._elapsed[...] = state["elapsed"]
        self._noise[...] = state["noise"]
        for asked in self._asked.values():  # of one that nobody had met yet there is nothing to remember
            starts, memory = state["asked"].get(int(asked.rows[0]), (True, None))
            asked.starts[...], asked.memory = starts, copy.deepcopy(memory)


def _empty_memory(player: Player) -> Floats:
    """What a player remembers when a match begins."""
    return np.zeros(player.memory_size if isinstance(player, OpponentPolicy) else 0, np.float32)
