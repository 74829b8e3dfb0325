"""n matches of sumo side by side, with both sides open: numpy arrays in and out, for self-play and for judging."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray

from metarl.envs import faces
from metarl.envs.rendering import Screen
from metarl.envs.sumo import Bout, RoboSumo
from metarl.envs.world import Bools, Floats

Pair = tuple[Floats, Floats]


@dataclass
class MatchStep:
    """One control step of n matches; all arrays are the caller's own.

    Where no match ended, both kinds of observations are the same arrays.
    """

    observations: Pair
    """(n, D) of each side: what to act on next. Where a match ended and the next one began, that of its beginning."""
    next_observations: Pair
    """(n, D) of each side: what the step led to. The same but where a match ended; that is what to bootstrap from."""
    rewards: Floats
    """(n, 2), a column for each side."""
    terms: dict[str, Floats]
    """Rewards by name, (n, 2) each; their sum is the reward. See :class:`metarl.envs.sumo.RoboSumo`."""
    terminated: Bools
    """(n,) Whether somebody has lost, or the physics broke down."""
    truncated: Bools
    """(n,) Whether the time was up."""
    results: NDArray[np.int64]
    """(n, 2) The :class:`metarl.envs.sumo_rules.Result` of each side; 0 while a match goes on."""
    diverged: Bools
    """(n,) Whether the physics broke down; such a match is terminated and has no result."""
    played: Bools
    """(n,) Whether the match was stepped at all; False only for one that had finished and stands still."""


class SumoMatches:
    """n matches of a pairing, stepped in C++ threads.

    Equal, bit for bit, to n of :func:`metarl.envs.sumo_parallel.parallel_env`.

    Args:
        pairing: Such as ``"Ant-vs-Bug"``: side 0 is the ant.
        num_matches: How many.
        autoreset: Whether a match that has ended is followed by the next in the same step. Otherwise it stands still,
            with no reward and its flags and result as they are, until it is reset: for batches of fixed length, or for
            judging one match of each seed.
        num_threads: C++ threads; by default one for each core.
        width: Width of a picture in pixels.
        height: Height of a picture in pixels.
        **arguments: Those of :class:`metarl.envs.sumo.RoboSumo`.

    Attributes:
        world: The :class:`metarl.envs.sumo.RoboSumo`, whose ``shaping`` may be set at any time.
        num_matches: n.
        observation_spaces: Of each side; float64.
        action_spaces: Of each side; float32 in [-1, 1].
        finished: (n,) Matches that stand still and await a reset.
        num_diverged: How many matches ended because the physics broke down.

    Raises:
        ValueError: If an argument is unknown or wrong.
    """

    def __init__(
        self,
        pairing: str = "Ant-vs-Ant",
        num_matches: int = 1,
        *,
        autoreset: bool = True,
        num_threads: int | None = None,
        width: int = 480,
        height: int = 480,
        **arguments: Any,
    ):
        faces.check_arguments(RoboSumo, arguments)
        self.world = RoboSumo(num_matches, num_threads, pairing=pairing, **arguments)
        self.num_matches, self.autoreset = num_matches, autoreset
        self.observation_spaces = tuple(
            Box(-np.inf, np.inf, (size,), np.float64) for size in self.world.observation_sizes
        )
        self.action_spaces = tuple(Box(-1.0, 1.0, (size,), np.float32) for size in self.world.action_sizes)
        self.num_diverged = 0
        self._rngs: list[np.random.Generator | None] = [None] * num_matches
        self._last: Pair = tuple(np.zeros((num_matches, size)) for size in self.world.observation_sizes)
        self._terminated, self._truncated = np.zeros((2, num_matches), np.bool_)
        self._results = np.zeros((num_matches, 2), np.int64)
        self._begun = np.zeros(num_matches, np.bool_)
        self._screen = Screen(width, height)

    @property
    def horizon(self) -> int:
        """Steps after which a match is a draw."""
        return self.world.horizon

    @property
    def finished(self) -> Bools:
        """(n,) Matches that stand still and await a reset."""
        return self._terminated | self._truncated

    @property
    def elapsed(self) -> NDArray[np.int64]:
        """(n,) Steps since each match began, a copy."""
        return self.world.elapsed.copy()

    def reset(self, seed: int | Sequence[int | None] | None = None, mask: Any = None) -> Pair:
        """Begin matches.

        Args:
            seed: One for each match, or s for the seeds s, s+1, s+2 ...; None goes on with each match's own randomness.
            mask: (n,) bool, which matches; all by default.

        Returns:
            Observations of both sides, (n, D), also of matches that were not reset.

        Raises:
            ValueError: If there are not n seeds, or the mask is none.
        """
        ids = np.arange(self.num_matches) if mask is None else np.flatnonzero(self._mask(mask))
        if seed is not None:
            if isinstance(seed, (int, np.integer)):
                seed = [int(seed) + index for index in range(self.num_matches)]
            if len(seed) != self.num_matches:
                expected = f"expected one seed or {self.num_matches}, one for each match"
                raise ValueError(f"{expected}, got {len(seed)}")
            for index in ids.tolist():
                if seed[index] is not None:
                    self._rngs[index], _ = np_random(int(seed[index]))
        self._begin(ids)
        one, two = self._last
        return one.copy(), two.copy()

    def _mask(self, mask: Any) -> Bools:
        mask = np.asarray(mask)
        if mask.shape != (self.num_matches,) or mask.dtype != np.bool_ or not mask.any():
            expected = f"a boolean array of shape ({self.num_matches},) that is true somewhere"
            raise ValueError(f"mask must be {expected}, got {mask!r}")
        return mask

    def _begin(self, ids: NDArray[np.intp]) -> None:
        self.world.begin(ids, self._generators(ids.tolist()))
        for last, first in zip(self._last, self.world.observe(ids), strict=True):
            last[ids] = first
        self._terminated[ids] = self._truncated[ids] = False
        self._results[ids] = 0
        self._begun[ids] = True

    def _generators(self, rows: Sequence[int]) -> list[np.random.Generator]:
        for index in rows:
            if self._rngs[index] is None:
                self._rngs[index], _ = np_random()
        return [self._rngs[index] for index in rows]

    def step(self, actions: tuple[Any, Any]) -> MatchStep:
        """One control step of all matches that have not finished.

        Args:
            actions: (n, A) of each side, clipped to [-1, 1]; those for finished matches mean nothing.

        Raises:
            ResetNeeded: If a match never began.
            ValueError: If actions have the wrong shape or are not numbers.
        """
        if not self._begun.all():
            raise ResetNeeded("call reset() before the first step")
        played = ~self.finished
        bout = self.world.advance(
            self._clip(actions, played), None if played.all() else np.flatnonzero(played)
        )
        if not played.all():
            self._blank(bout, ~played)
        self.num_diverged += int(bout.diverged.sum())
        seen = self.world.observe()
        still = bout.diverged | ~played
        if still.any():
            for now, last in zip(seen, self._last, strict=True):
                now[still] = last[still]
        self._last = seen
        self._terminated, self._truncated, self._results = bout.terminated, bout.truncated, bout.results
        step = self._report(bout, played)
        if self.autoreset and self.finished.any():
            self._last = (seen[0].copy(), seen[1].copy())
            self._begin(np.flatnonzero(self.finished))
            step.observations = (self._last[0].copy(), self._last[1].copy())
        return step

    def _report(self, bout: Bout, played: Bools) -> MatchStep:
        """What a step did, in arrays of which none is kept here."""
        one, two = self._last
        seen = (one.copy(), two.copy())
        return MatchStep(
            seen,
            seen,
            sum(bout.terms.values()),
            bout.terms,
            bout.terminated.copy(),
            bout.truncated.copy(),
            bout.results.copy(),
            bout.diverged,
            played,
        )

    def _clip(self, actions: tuple[Any, Any], played: Bools) -> Pair:
        shapes = tuple((self.num_matches, size) for size in self.world.action_sizes)
        given = tuple(np.asarray(each) for each in actions)
        if tuple(each.shape for each in given) != shapes:
            got = " and ".join(str(each.shape) for each in given)
            raise ValueError(f"expected actions of shapes {shapes[0]} and {shapes[1]}, got {got}")
        one, two = (np.clip(each, -1.0, 1.0, dtype=np.float64) for each in given)
        one[~played], two[~played] = 0.0, 0.0
        if not (np.isfinite(one).all() and np.isfinite(two).all()):
            raise ValueError("actions must be numbers, got NaN")
        return one, two

    def _blank(self, bout: Bout, still: Bools) -> None:
        """Undo what a step says about matches that were not stepped."""
        for term in bout.terms.values():
            term[still] = 0.0
        bout.terminated[still], bout.truncated[still] = self._terminated[still], self._truncated[still]
        bout.results[still] = self._results[still]
        bout.diverged[still] = False

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """A picture of a match, (height, width, 3)."""
        picture = self._screen.show(self.world, index, "rgb_array")
        assert picture is not None
        return picture

    def close(self) -> None:
        """Free what draws; harmless when repeated."""
        self._screen.close()

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        rngs = self._generators(range(self.num_matches))
        return {
            "world": self.world.get_state(),
            "rngs": [rng.bit_generator.state for rng in rngs],
            "last": tuple(each.copy() for each in self._last),
            "terminated": self._terminated.copy(),
            "truncated": self._truncated.copy(),
            "results": self._results.copy(),
            "begun": self._begun.copy(),
            "num_diverged": self.num_diverged,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave, here or in another instance made with the same arguments.

        Raises:
            ValueError: If the state is of another number of matches.
        """
        if len(state["begun"]) != self.num_matches:
            raise ValueError(f"state of {len(state['begun'])} matches, but there are {self.num_matches}")
        self.world.set_state(state["world"])
        for rng, saved in zip(self._generators(range(self.num_matches)), state["rngs"], strict=True):
            rng.bit_generator.state = saved
        one, two = state["last"]
        self._last = (one.copy(), two.copy())
        self._terminated, self._truncated = state["terminated"].copy(), state["truncated"].copy()
        self._results, self._begun = state["results"].copy(), state["begun"].copy()
        self.num_diverged = state["num_diverged"]
