"""Ratings of wrestlers from the results of their matches, by openskill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.envs.contests import Contest
from metarl.envs.sumo_rules import Result


@dataclass(frozen=True)
class Rating:
    """What is known of a wrestler's strength: a normal distribution."""

    name: str
    mu: float
    sigma: float

    @property
    def rank(self) -> float:
        """Mu - 3 sigma: what it is at least (Al-Shedivat et al. 2018, sec. 5.3)."""
        return self.mu - 3 * self.sigma


def rating_model() -> Any:
    """Thurstone and Mosteller's model for all pairs, the nearest to TrueSkill; mu 25, sigma 25/3, beta 25/6.

    Raises:
        ValueError: openskill is not installed.
    """
    try:
        from openskill.models import ThurstoneMostellerFull
    except ImportError:
        raise ValueError(
            "ratings need openskill: pip install openskill, or the extra `games` of this package"
        ) from None
    return ThurstoneMostellerFull()


def rate(contests: Sequence[Contest]) -> list[Rating]:
    """Ratings after all matches, the strongest first.

    Matches are taken in a shuffled order, always the same, so that none counts for more because its contest was played
    last. Draws, and matches that both lost, count as draws; those whose physics broke down do not count.

    Args:
        contests: Who met whom, and how it ended.
    """
    model = rating_model()
    names = dict.fromkeys(name for each in contests for name in (each.one, each.two))
    known = {name: model.rating(name=name) for name in names}
    matches = [(each, result) for each in contests for result in each.results if result != Result.NONE]
    for number in np.random.default_rng(0).permutation(len(matches)):
        contest, result = matches[number]
        ranks = {Result.WIN: [1, 2], Result.LOSS: [2, 1]}.get(Result(result), [1, 1])
        (one,), (two,) = model.rate([[known[contest.one]], [known[contest.two]]], ranks=ranks)
        known[contest.one], known[contest.two] = one, two
    found = [Rating(name, float(each.mu), float(each.sigma)) for name, each in known.items()]
    return sorted(found, key=lambda each: -each.rank)


def win_probability(one: Rating, two: Rating) -> float:
    """How likely the first is to win a match against the second, by their ratings."""
    model = rating_model()
    teams = [[model.rating(mu=each.mu, sigma=each.sigma)] for each in (one, two)]
    return float(model.predict_win(teams)[0])
