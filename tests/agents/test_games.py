"""Rounds and games from the scores of matches."""

from dataclasses import replace

import numpy as np
import pytest

from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import train
from metarl.agents.games import by_quarters, episodes_per_round, games_won, rounds, winner
from metarl.agents.lifetime_evaluation import LifetimeEvaluation
from metarl.cli import main
from tests.agents.matches import off_the_mat


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
    assert episodes_per_round("rising-versions") == episodes_per_round({"schedule": "rising-versions"}) == 3
    assert episodes_per_round({"schedule": "rising-versions", "episodes_per_round": 5}) == 5
    assert episodes_per_round({"schedule": "drift"}) is None
    assert episodes_per_round(None) is None


def test_agents_play_games_against_an_opponent_that_goes_on_training(tmp_path, capsys, monkeypatch):
    """Self-play makes the opponent; the game is lived adapting and not, in training and afterwards."""
    world, fast = "metarl/RoboSumo-Ant-vs-Ant-v0", {"physics": "fast"}
    config = preset("self-play")
    ppo = replace(config.ppo, environments=2, horizon=4, batch_size=8, epochs=1)
    experiment = Experiment(world, steps=8 * 3, out=str(tmp_path), evaluate_every=0, world_options=fast)
    learner = train("self-play", experiment, replace(config, snapshot_every=1, ppo=ppo), quiet=True)
    game = {"schedule": "rising-versions", "rounds": 3, "episodes_per_round": 2}
    options = fast | {"opponents": str(learner.path / "opponents"), "lifetime": game}
    config = preset("continuous-adaptation")
    sampling = replace(config.sampling, tasks=2, trajectories=1, horizon=6)
    experiment = replace(experiment, steps=24, world_options=options, evaluation_tasks=2, evaluate_every=1)
    run = train("continuous-adaptation", experiment, replace(config, sampling=sampling), quiet=True)
    off_the_mat(monkeypatch, 0)
    found = run.evaluate_lifetimes(2, quiet=True)
    assert found.groups == ["opponent self"]
    for label in found.scores:
        assert found.measures[label]["score"].tolist() == [[[-1] * 6] * 2]
    assert by_quarters(found, 2).table().startswith("**opponent self**")
    assert main(["evaluate", str(run.path), "--lifetimes", "2"]) == 0
    said = capsys.readouterr().out
    assert found.protocol["disjoint"] is False
    assert "note: the test tasks are those of training; this world keeps none apart\n\nscores:" in said
    for label in found.scores:
        assert f"games of {label}: 0 % won, 100 % lost" in said
