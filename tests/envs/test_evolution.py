"""A population of wrestlers from which losers disappear."""

import numpy as np
import pytest

from metarl.envs.contestants import contestant
from metarl.envs.evolution import encounters, generation, matches_between


def test_everyone_is_paired_once():
    counts = np.array([4, 3, 0, 6])
    met = encounters(counts, np.random.default_rng(0))
    assert met.sum() == 6
    assert not np.tril(met, -1).any()
    individuals = met.sum(0) + met.sum(1)  # each kind's part in its own pairs counts twice, as it should
    assert (counts - individuals).tolist().count(0) == 3
    assert (counts - individuals).sum() == 1


def test_kinds_meet_as_often_as_chance_has_it():
    """Of N individuals, a pair is of kinds 0 and 1 with probability 2 n0 n1 / (N (N - 1))."""
    counts, rng = np.array([6, 4]), np.random.default_rng(1)
    mean = np.mean([encounters(counts, rng)[0, 1] for _ in range(4_000)])
    assert mean == pytest.approx(5 * 2 * 24 / 90, abs=0.06)


def test_winners_have_copies_and_losers_disappear():
    asked = []

    def games(one, two, number, seed):
        asked.append((one, two, number))
        return [1] * number if (one, two) != (1, 2) else [0] * number  # 1 and 2 end without a winner

    counts = np.array([5, 5, 5])
    after = generation(counts, games, 0, 1)
    met = encounters(counts, np.random.default_rng([0, 1]))
    assert asked == [(0, 1, met[0, 1]), (0, 2, met[0, 2]), (1, 2, met[1, 2])]
    assert after.tolist() == [5 + met[0, 1] + met[0, 2], 5 - met[0, 1], 5 - met[0, 2]]
    assert counts.tolist() == [5, 5, 5]


def test_the_strongest_is_left_in_the_end():
    counts = np.array([2, 10, 10])
    for number in range(1, 12):
        counts = generation(counts, lambda one, two, number, seed: [1] * number, 3, number)
        assert counts.sum() == 22
    assert counts.tolist() == [22, 0, 0]


def test_a_generation_follows_from_its_seed_and_number():
    def games(one, two, number, seed):
        return np.random.default_rng(seed).choice([1, -1], number).tolist()

    counts = np.array([20, 20, 20])
    again = [generation(counts, games, 0, number).tolist() for number in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_games_are_won_by_the_majority_of_their_matches():
    """A standing spider sinks, and loses every match to a standing ant."""
    games = matches_between([contestant("zero-ant"), contestant("zero-spider")], rounds=2)
    assert games(0, 1, 3, 0) == [1, 1, 1]
    assert games(1, 0, 2, 5) == [-1, -1]
