"""Opponents: what plays the other side where an agent sees only its own."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.world import Floats
from metarl.names import unknown

BUILT_IN = ("zero", "random")


class Opponents:
    """A list of opponents, one of which each of n matches is against.

    An opponent is ``"zero"`` (it stands still), ``"random"`` (uniform actions, from the match's own randomness), a policy
    with ``predict(observation, state, episode_start, deterministic) -> (actions, state)`` as Stable-Baselines3's policies
    and this suite's agents have it, or any callable that gives actions (n, A) for observations (n, D).

    Every policy that has a match to play is asked for the actions of all n at once, so what it remembers may have any
    form; the actions of matches that it does not play are thrown away.

    Args:
        opponents: One, or a list of them.
        num: Number of matches n.
        action_size: A.
        deterministic: Whether policies act by their mean. Those that sample do so from their own randomness, mostly
            torch's global generator, which no seed of an environment reaches.

    Attributes:
        which: (n,) Index of the opponent of each match.

    Raises:
        ValueError: If there is none, or something is no opponent.
    """

    def __init__(self, opponents: Any, num: int, action_size: int, *, deterministic: bool):
        self.policies = list(opponents) if isinstance(opponents, (list, tuple)) else [opponents]
        if not self.policies:
            raise ValueError("expected an opponent or a list of them, got an empty list")
        for each in self.policies:
            _check(each)
        self.num, self.action_size, self.deterministic = num, action_size, deterministic
        self.which = np.zeros(num, np.int64)
        self._starts = np.ones((len(self.policies), num), np.bool_)
        self._memory: list[Any] = [None] * len(self.policies)
        self._rngs = [np.random.default_rng(0) for _ in range(num)]

    def take(self, ids: NDArray[np.intp], which: Sequence[int]) -> None:
        """Change the opponents of matches ``ids``; one that comes in remembers nothing of the match."""
        self.which[ids] = which
        self._starts[:, ids] = True

    def begin(self, ids: NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Begin matches ``ids``: what was remembered of them is forgotten. Draws one number from each generator."""
        self._starts[:, ids] = True
        for index, rng in zip(ids.tolist(), rngs, strict=True):
            self._rngs[index] = np.random.default_rng(rng.integers(2**63))

    def act(self, observations: Floats) -> Floats:
        """Actions (n, A) in [-1, 1] for observations (n, D).

        Raises:
            ValueError: If a policy gives actions of another shape, or that are no numbers.
        """
        actions = np.zeros((self.num, self.action_size))
        for index, policy in enumerate(self.policies):
            rows = self.which == index
            if isinstance(policy, str):
                if policy == "random":
                    for row in np.flatnonzero(rows).tolist():
                        actions[row] = self._rngs[row].uniform(-1.0, 1.0, self.action_size)
            elif rows.any():
                actions[rows] = self._ask(index, policy, observations)[rows]
        return actions

    def _ask(self, index: int, policy: Any, observations: Floats) -> Floats:
        """Actions of a policy in all matches, (n, A)."""
        if hasattr(policy, "predict"):
            given, self._memory[index] = policy.predict(
                observations,
                state=self._memory[index],
                episode_start=self._starts[index].copy(),
                deterministic=self.deterministic,
            )
            self._starts[index] = False
        else:
            given = policy(observations)
        given, shape = np.asarray(given, dtype=np.float64), (self.num, self.action_size)
        if given.shape != shape:
            raise ValueError(
                f"opponent {index} gave actions of shape {given.shape}, expected {shape} for observations of shape "
                f"{observations.shape}"
            )
        if not math.isfinite(np.add.reduce(given, axis=None)):
            raise ValueError(f"opponent {index} gave actions that are no numbers")
        return np.clip(given, -1.0, 1.0)

    def get_state(self) -> dict[str, Any]:
        """Everything that changes from step to step but ``which``."""
        states = [rng.bit_generator.state for rng in self._rngs]
        return {"starts": self._starts.copy(), "memory": copy.deepcopy(self._memory), "rngs": states}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self._starts[...] = state["starts"]
        self._memory = copy.deepcopy(state["memory"])
        for rng, saved in zip(self._rngs, state["rngs"], strict=True):
            rng.bit_generator.state = saved


def _check(opponent: Any) -> None:
    """Refuse what is no opponent."""
    if isinstance(opponent, str):
        if opponent not in BUILT_IN:
            raise unknown("opponent", opponent, BUILT_IN)
    elif not (hasattr(opponent, "predict") or callable(opponent)):
        expected = "'zero', 'random', a policy with predict(), or a callable"
        raise ValueError(f"an opponent is {expected}, got {type(opponent).__name__}")
