"""Self-play: who is met, what is kept, and that a resumed training goes on as if it had never stopped."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl import checkpoints
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import open_run, resume, train
from metarl.agents.lives import Lives
from metarl.agents.opponent_arrays import of_learner
from metarl.agents.self_play import CONFIG, ITSELF, SelfPlayConfig
from metarl.agents.self_play_training import STILL, SelfPlayTraining
from tests.agents.matches import off_the_mat

WORLD = "metarl/RoboSumo-Ant-vs-Ant-v0"
OPTIONS = {"physics": "fast"}


def small(**changes) -> SelfPlayConfig:
    ppo = replace(CONFIG.ppo, environments=4, horizon=8, batch_size=16, epochs=1)
    recurrent = replace(CONFIG.recurrent, environments=4, horizon=8, batch_size=16, epochs=1, unroll=4)
    return replace(CONFIG, **{"snapshot_every": 2, "ppo": ppo, "recurrent": recurrent, **changes})


def training(folder=None, steps=10**6, **changes) -> SelfPlayTraining:
    experiment = Experiment(WORLD, steps=steps, world_options=OPTIONS, evaluation_tasks=2)
    made = SelfPlayTraining(experiment, small(**changes), torch.device("cpu"))
    made.folder = folder
    return made


def test_shares_of_the_matches_are_against_the_newest_the_one_that_stands_and_the_pool():
    made = training(newest=0.5, still=0.25)
    assert made.draw(made.env, 8, "train", np.random.default_rng(0)) == [STILL] * 8, (
        "nobody else is there yet"
    )
    for version in range(5):
        made.env.tasks.add(ITSELF, version, of_learner(made.model))
    counts = Counter()
    for seed in range(50):
        tasks = made.draw(made.env, 40, "train", np.random.default_rng(seed))
        counts.update((task["opponent"], task["version"]) for task in tasks)
    assert counts["zero", 0] == 500
    assert counts[ITSELF, 4] == pytest.approx(1000 + 100, abs=35)
    for version in range(4):
        assert counts[ITSELF, version] == pytest.approx(100, abs=35)


@pytest.mark.parametrize("body", ["mlp", "lstm"])
def test_who_is_met_does_not_follow_the_lifetimes_of_the_world(body):
    game = {"lifetime": {"schedule": "rising-versions", "rounds": 2, "episodes_per_round": 1}}
    experiment = Experiment(WORLD, world_options=OPTIONS | game)
    config = small(body=body, snapshot_every=1, newest=1.0, still=0.0)
    made = SelfPlayTraining(experiment, config, torch.device("cpu"))
    for i in range(3):
        made.collect(np.random.default_rng(i))
    assert made.env.get_task() == [{"opponent": ITSELF, "version": 2}] * 4


def test_no_opponent_is_older_than_asked_for():
    made = training(newest=0.0, still=0.0, oldest=0.6)
    for version in range(11):
        made.env.tasks.add(ITSELF, version, of_learner(made.model))
    tasks = made.draw(made.env, 400, "train", np.random.default_rng(0))
    assert {task["version"] for task in tasks} == set(range(6, 11))


@pytest.mark.parametrize(("body", "activation"), [("mlp", "tanh"), ("lstm", "tanh"), ("lstm", "relu")])
def test_an_opponent_acts_as_the_learner_that_it_was_made_of(body, activation):
    made = training(body=body, recurrent=replace(small().recurrent, activation=activation))
    made.collect(np.random.default_rng(0))
    arrays = of_learner(made.model)
    noiseless = arrays | {"log_std": np.full(8, -100.0, np.float32)}
    made.env.tasks.add("twin", 0, noiseless)
    player = made.env.tasks.player({"opponent": "twin", "version": 0})
    from metarl.envs.crew import Crew

    crew = Crew(3, 8, 6, "Ant")
    crew.assign(np.arange(3), [player] * 3)
    crew.begin(np.arange(3), [np.random.default_rng(i) for i in range(3)])
    rng, state, start = np.random.default_rng(1), None, np.ones(3, dtype=bool)
    for _ in range(6):
        obs = rng.standard_normal((3, 120)).astype(np.float32)
        expected, state = made.model.predict(obs, state, start, deterministic=True)
        start = np.zeros(3, dtype=bool)
        np.testing.assert_allclose(crew.act(obs), expected, atol=2e-5)


def test_versions_are_kept_and_rewards_for_trying_fade(tmp_path):
    made = training(tmp_path, steps=4 * 8 * 10, shaping_until=0.5)
    weights = []
    for i in range(6):
        made.collect(np.random.default_rng(i))
        weights.append(made.env.world.shaping)
    np.testing.assert_allclose(weights, [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], atol=1e-12)
    assert made.env.tasks.versions(ITSELF) == [0, 1, 2]
    assert sorted(each.stem for each in (tmp_path / ITSELF).glob("*.json")) == ["v0000", "v0001", "v0002"]


def test_rewards_for_trying_fade_by_lifetimes_of_several_episodes():
    recurrent = replace(small().recurrent, episodes=3)
    made = training(steps=4 * 8 * 3 * 4, body="lstm", recurrent=recurrent, shaping_until=1.0)
    weights = []
    for i in range(4):
        made.collect(np.random.default_rng(i))
        weights.append(made.env.world.shaping)
    assert weights == [1.0, 0.75, 0.5, 0.25]


def test_an_opponent_that_is_kept_for_testing_is_not_trained_against():
    experiment = Experiment(WORLD, world_options=OPTIONS | {"opponents": "zoo", "test_opponents": "zero"})
    with pytest.raises(ValueError, match="test_opponents keeps 'zero' for testing"):
        SelfPlayTraining(experiment, small(), torch.device("cpu"))


def test_layers_that_no_opponent_has_are_refused():
    with pytest.raises(ValueError, match="one layer of relu"):
        small(body="lstm", recurrent=replace(small().recurrent, activation="relu", hidden=(4, 4)))


def test_a_pool_whose_opponent_is_called_as_the_learner_is_refused(tmp_path):
    """Such as the versions of another run."""
    made = training(tmp_path)
    made.collect(np.random.default_rng(0))
    experiment = Experiment(WORLD, world_options=OPTIONS | {"opponents": str(tmp_path)})
    with pytest.raises(ValueError, match="called 'self', as the learner's own versions are called"):
        SelfPlayTraining(experiment, small(), torch.device("cpu"))
    (tmp_path / ITSELF).rename(tmp_path / "another")
    made = SelfPlayTraining(experiment, small(newest=0.0, still=0.0), torch.device("cpu"))
    made.collect(np.random.default_rng(0))
    tasks = made.draw(made.env, 40, "train", np.random.default_rng(0))
    assert {task["opponent"] for task in tasks} == {ITSELF, "another"}


@pytest.mark.parametrize("body", ["mlp", "lstm"])
def test_a_resumed_training_is_as_one_that_never_stopped(tmp_path, body):
    config = small(body=body)
    experiment = Experiment(
        WORLD, steps=32 * 5, seed=3, out=str(tmp_path / "whole"), evaluate_every=0, checkpoint_every=1,
        world_options=OPTIONS,
    )  # fmt: skip
    whole = train("self-play", experiment, config, quiet=True)
    parts = train(
        "self-play", replace(experiment, steps=32 * 3, out=str(tmp_path / "parts")), config, quiet=True
    )
    parts = resume(parts.path, steps=32 * 5, quiet=True)
    states = [checkpoints.load(checkpoints.latest(run.path / "checkpoints"))[0] for run in (whole, parts)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert (parts.path / "opponents" / ITSELF / "v0002.safetensors").exists()
    lives = open_run(parts.path)._restored()[0].live([[STILL] * 2] * 3, np.random.default_rng(0))
    assert lives.measures["score"].tolist() == [[0, 0]] * 3, "nobody is down after so few steps"


@pytest.mark.parametrize("body", ["mlp", "lstm"])
@pytest.mark.parametrize(("side", "score"), [(0, -1), (1, 1)])
def test_who_starts_off_the_mat_has_lost(monkeypatch, body, side, score):
    off_the_mat(monkeypatch, side)
    made = training(body=body)
    lives = made.live([[STILL] * 2] * 3, np.random.default_rng(0))
    assert lives.measures["score"].tolist() == [[score] * 2] * 3
    assert made.evaluate(np.random.default_rng(0)) == {"match/wins_against_still": max(score, 0)}


def test_older_versions_are_those_after_each_quarter(monkeypatch):
    made, met = training(snapshot_every=3), []
    for version in range(9):
        made.env.tasks.add(ITSELF, version, made._arrays())
    made.module.iterations += 3 * 8

    def live(lifetimes, *rest):
        (task,) = lifetimes[0]
        met.append((task["opponent"], task["version"]))
        score = np.full((32, 1), -1.0)
        score[: 4 * task["version"]] = 1.0
        return Lives(score, {"score": score})

    monkeypatch.setattr(made, "live", live)
    found = made.evaluate(np.random.default_rng(0))
    assert met == [("zero", 0), (ITSELF, 2), (ITSELF, 4), (ITSELF, 6)]
    wins = {"still": 0.0, "first_quarter": 0.25, "half": 0.5, "third_quarter": 0.75}
    assert found == {f"match/wins_against_{name}": share for name, share in wins.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"newest": 0.9, "still": 0.2}, "more than all matches"),
        ({"snapshot_every": 0}, "snapshot_every=0"),
        ({"oldest": 1.0}, "use newest=1.0"),
        ({"shaping_until": 0.0}, "share in"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_world_without_opponents_is_refused():
    experiment = Experiment("metarl/PointNavigation-v0")
    with pytest.raises(ValueError, match="tasks are opponents"):
        SelfPlayTraining(experiment, CONFIG, torch.device("cpu"))


def test_two_bodies_cannot_play_themselves():
    experiment = Experiment("metarl/RoboSumo-Ant-vs-Bug-v0", world_options=OPTIONS)
    with pytest.raises(ValueError, match="of another body"):
        SelfPlayTraining(experiment, small(), torch.device("cpu"))


def test_a_learner_in_the_frame_of_its_body_has_opponents_in_theirs():
    experiment = Experiment(WORLD, steps=10**6, world_options={**OPTIONS, "canonical": True})
    made = SelfPlayTraining(experiment, small(), torch.device("cpu"))
    made.collect(np.random.default_rng(0))
    player = made.env.tasks.player({"opponent": ITSELF, "version": 0})
    assert "canonical" in player.arrays
    assert "canonical" not in training()._arrays()
