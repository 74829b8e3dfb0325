"""Matches of sumo between two policies, and tournaments of many."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.contestants import Contestant
from metarl.envs.crew import Crew
from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_rules import Result

MOST = 64
"""Matches that are played side by side."""


@dataclass(frozen=True)
class Contest:
    """Matches between two."""

    one: str
    """Name of the first."""
    two: str
    """Name of the second."""
    results: tuple[int, ...]
    """The :class:`metarl.envs.sumo_rules.Result` of the first in each match."""

    def count(self, result: Result) -> int:
        """How many matches ended so for the first."""
        return self.results.count(int(result))

    @property
    def wins(self) -> float:
        """Share of the matches that the first won."""
        return self.count(Result.WIN) / len(self.results)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that share."""
        return proportion_interval(self.count(Result.WIN), len(self.results))


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), which is sound near 0 and 1, too.

    Args:
        count: How often it happened.
        total: Of how many, 1 or more.
    """
    z, p = 1.959964, count / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    low, high = (0.0 if count == 0 else middle - half), (1.0 if count == total else middle + half)
    return float(low), float(high)


def play(
    one: Contestant,
    two: Contestant,
    num: int = 100,
    seed: int = 0,
    physics: str = "fast",
    deterministic: bool = False,
) -> Contest:
    """Matches between two, from random starts.

    Args:
        one: The first side.
        two: The second.
        num: How many matches.
        seed: Starts and noise of all matches follow from it; they are equal for every pair of contestants.
        physics: As in :class:`metarl.envs.sumo.RoboSumo`.
        deterministic: Whether both act by the means of their policies, instead of with their noise.

    Raises:
        ValueError: If there is no match to be played, or the seed is negative.
    """
    if num < 1:
        raise ValueError(f"expected 1 match or more, got {num}")
    results: list[int] = []
    while len(results) < num:
        numbers = range(len(results), min(num, len(results) + MOST))
        with closing(_matches_between(one, two, len(numbers), physics)) as matches:
            for found in _played(matches, one, two, seed, numbers, deterministic):
                if found is not None:
                    results += found[:, 0].tolist()
    return Contest(one.name, two.name, tuple(results))


def film(
    one: Contestant,
    two: Contestant,
    rounds: int,
    seed: int = 0,
    physics: str = "fast",
    deterministic: bool = False,
    size: tuple[int, int] = (640, 480),
    every: int = 1,
) -> Iterator[tuple[NDArray[np.uint8], int, tuple[int, int]]]:
    """Pictures of some matches, one after another.

    Args:
        one: The first side.
        two: The second.
        rounds: How many matches.
        seed: As in :func:`play`.
        physics: Likewise.
        deterministic: Likewise.
        size: Width and height in pixels.
        every: Steps from one picture to the next; the last of a match is always shown.

    Yields:
        The picture, the number of the round from 1, and how many rounds each side has won.
    """
    score = [0, 0]
    with closing(_matches_between(one, two, 1, physics, size)) as matches:
        for number in range(rounds):
            played = _played(matches, one, two, seed, [number], deterministic)
            for step, found in enumerate(played):
                if found is not None:
                    for side in (0, 1):
                        score[side] += int(found[0, side] == Result.WIN)
                if step % every == 0 or found is not None:
                    yield matches.render(), number + 1, (score[0], score[1])


def _matches_between(
    one: Contestant, two: Contestant, num: int, physics: str, size: tuple[int, int] = (640, 480)
) -> SumoMatches:
    """Matches of two bodies, none of which goes on after its end."""
    pairing = f"{one.body}-vs-{two.body}"
    return SumoMatches(pairing, num, autoreset=False, physics=physics, width=size[0], height=size[1])


def _played(
    matches: SumoMatches,
    one: Contestant,
    two: Contestant,
    seed: int,
    numbers: Sequence[int],
    deterministic: bool,
) -> Iterator[NDArray[np.int64] | None]:
    """Play the matches of these numbers until all have ended: a step each, with the last one the results (n, 2)."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    num = len(numbers)
    seeds = [np.random.SeedSequence(seed, spawn_key=(number,)) for number in numbers]
    crews = []
    for side, each in enumerate((one, two)):
        crew = Crew(num, matches.world.action_sizes[side], matches.horizon, each.body, deterministic)
        crew.assign(np.arange(num), [each.policy] * num)
        children = [np.random.SeedSequence(seed, spawn_key=(number, side)) for number in numbers]
        crew.begin(np.arange(num), [np.random.default_rng(child) for child in children])
        crews.append(crew)
    seen = matches.reset([int(each.generate_state(1, np.uint64)[0]) for each in seeds])
    while not matches.finished.all():
        step = matches.step((crews[0].act(seen[0]), crews[1].act(seen[1])))
        seen = step.observations
        yield step.results if matches.finished.all() else None


def pairs(contestants: Sequence[Contestant]) -> list[tuple[Contestant, Contestant]]:
    """Everyone against everyone else, once."""
    return list(combinations(contestants, 2))
