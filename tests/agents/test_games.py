"""Rounds and games from the scores of matches."""

import numpy as np
import pytest

from metarl.agents.games import by_quarters, episodes_per_round, games_won, rounds, winner
from metarl.agents.lifetime_evaluation import LifetimeEvaluation


def test_a_round_goes_to_who_won_more_of_its_episodes():
    score = np.array([1, 1, -1, 0, 0, -1, 1, 0, -1, 0, 0, 0])
    np.testing.assert_array_equal(rounds(score, 3), [1, -1, 0, 0])
    with pytest.raises(ValueError, match="no whole number"):
        rounds(score, 5)


def test_a_game_needs_a_margin():
    won = np.zeros((4, 40))
    won[0, :2], won[1, 0], won[2, :3], won[3, :20] = 1, 1, -1, [1, -1] * 10
    np.testing.assert_array_equal(winner(won), [1, 0, -1, 0])


def evaluation(score: np.ndarray) -> LifetimeEvaluation:
    return LifetimeEvaluation({"a": np.zeros_like(score)}, ["x"], {}, {"a": {"score": score}})


def test_quarters_have_the_share_of_rounds_won():
    score = np.zeros((1, 2, 16))
    score[0, 0, :4], score[0, 1, 12:] = 1, 1
    score[0, 1, 0] = -1
    found = by_quarters(evaluation(score), 2)
    np.testing.assert_array_equal(found.scores["a"], [[[1, 0, 0, 0], [0, 0, 0, 1]]])
    assert by_quarters(evaluation(score[..., :4]), 2).scores["a"].shape == (1, 2, 2)
    assert games_won(evaluation(score), 2) == {"a": {"won": 1.0, "lost": 0.0, "neither": 0.0}}
    with pytest.raises(ValueError, match="no scores"):
        by_quarters(LifetimeEvaluation({"a": score}, ["x"], {}), 2)


def test_only_rising_versions_are_games():
    assert episodes_per_round({"schedule": "rising-versions"}) == 3
    assert episodes_per_round({"schedule": "rising-versions", "episodes_per_round": 5}) == 5
    assert episodes_per_round({"schedule": "drift"}) is None
    assert episodes_per_round(None) is None
