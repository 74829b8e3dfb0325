"""Evolution of a population of wrestlers: who loses a game disappears, and who wins it has a copy.

Al-Shedivat et al. 2018 (arXiv 1710.03641, section 5.3). A generation pairs all individuals at random, each with one
other; pairs of one kind leave the population as it is. The paper draws 1,000 pairings of 1,050 individuals in each
generation, so that some meet several times and some nobody, and its individuals adapt during a game, as these do not.

Legend: K kinds of wrestlers.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from metarl.envs.contestants import Contestant
from metarl.envs.contests import play
from metarl.envs.sumo_rules import Result

Counts = NDArray[np.int64]
Games = Callable[[int, int, int, int], Sequence[int]]
"""`games(one, two, number, seed)` -> the winner of each of so many games between two kinds: 1, -1 the other, 0 nobody."""
STARTS = 2**31
"""Seeds of the first matches of two kinds in a generation are below this."""


def generation(counts: Counts, games: Games, seed: int, number: int) -> Counts:
    """The population after a generation.

    Args:
        counts: Individuals of each kind, (K,).
        games: Plays.
        seed: Of the whole evolution.
        number: Of the generation, from 1.

    Returns:
        Shape (K,), with the same sum.
    """
    rng = np.random.default_rng([seed, number])
    met = encounters(counts, rng)
    after = counts.copy()
    for one, two in zip(*np.nonzero(np.triu(met, 1)), strict=True):
        won = sum(games(int(one), int(two), int(met[one, two]), int(rng.integers(STARTS))))
        after[one] += won
        after[two] -= won
    return after


def encounters(counts: Counts, rng: np.random.Generator) -> Counts:
    """How often kinds meet when all individuals are paired at random; of an odd number one meets nobody.

    Returns:
        Shape (K, K), zero below the diagonal.
    """
    everyone = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    pairs = np.sort(everyone[: len(everyone) // 2 * 2].reshape(-1, 2), axis=1)
    met = np.zeros((len(counts), len(counts)), np.int64)
    np.add.at(met, (pairs[:, 0], pairs[:, 1]), 1)
    return met


def matches_between(
    kinds: Sequence[Contestant], rounds: int, physics: str = "fast", deterministic: bool = False
) -> Games:
    """Games of some matches, which who wins more of them wins.

    Args:
        kinds: K wrestlers.
        rounds: Matches of a game.
        physics: As in :func:`metarl.envs.contests.play`.
        deterministic: Likewise.
    """

    def games(one: int, two: int, number: int, seed: int) -> list[int]:
        contest = play(kinds[one], kinds[two], number * rounds, seed, physics, deterministic)
        results = np.array(contest.results).reshape(number, rounds)
        ahead = (results == Result.WIN).sum(1) - (results == Result.LOSS).sum(1)
        return np.sign(ahead).tolist()

    return games
