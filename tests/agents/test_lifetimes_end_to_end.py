"""A hexapod agent from training to the judgement by lifetimes, through the run's folder and the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest

from metarl import cli
from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import open_run, resume, train
from metarl.agents.lifetime_evaluation import read

WORLD = "metarl/HexapodLegFailure-v0"
PAIRS = ["legs 1 2: back", "legs 3 4: middle", "legs 5 6: front"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A meta-policy and PPO, hardly trained."""
    root = tmp_path_factory.mktemp("runs")
    ours = preset("continuous-adaptation")
    ours = replace(ours, sampling=replace(ours.sampling, tasks=2, trajectories=2, horizon=5))
    ours = replace(ours, policy=replace(ours.policy, hidden=(4,)))
    ppo = replace(preset("ppo"), environments=4, horizon=5, batch_size=10, epochs=1, hidden=(4,))
    trained = []
    for agent, config in (("continuous-adaptation", ours), ("ppo", ppo)):
        experiment = Experiment(world=WORLD, steps=20, out=str(root), evaluation_tasks=3)
        trained.append(train(agent, experiment, config, quiet=True))
    return trained


@pytest.mark.filterwarnings("ignore:importance weights")
def test_agents_are_judged_by_the_same_lifetimes(runs, capsys):
    words = ["evaluate", *(str(run.path) for run in runs), "--lifetimes", "2"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    for text in (*PAIRS, "continuous-adaptation, not adapting", "ppo, tracking", "lifetimes.png"):
        assert text in shown
    ours, ppo = (read(run.path / "lifetimes.json") for run in runs)
    assert ours.groups == ppo.groups == PAIRS
    assert ours.scores["continuous-adaptation"].shape == (3, 2, 7)
    assert list(ppo.scores) == ["ppo", "ppo, tracking"]
    protocol = ours.protocol
    assert (protocol["split"], protocol["lifetimes"], protocol["world"]) == ("test", 2, WORLD)
    assert protocol["steps_trained"] >= 20
    assert protocol["split_hash"] == ppo.protocol["split_hash"]
    adapting, fixed = ours.scores.values()
    np.testing.assert_array_equal(
        adapting[..., 0], fixed[..., 0]
    )  # the first episode comes before any update
    assert (adapting[..., 1:] != fixed[..., 1:]).any()
    again = open_run(runs[0].path).evaluate_lifetimes(2, methods=["adaptation"], quiet=True)
    np.testing.assert_array_equal(again.scores["continuous-adaptation"], adapting)
    assert json.loads((runs[0].path / "lifetimes.json").read_text())["protocol"]["methods"] == ["adaptation"]


def test_training_is_shown_by_lifetimes_and_keeps_its_layout_when_resumed(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed = resume(runs[0].path, steps=400, quiet=True)
    board = EventAccumulator(str(resumed.path))
    board.Reload()
    tags = board.Tags()
    assert "custom_scalars__config__" in tags["tensors"]
    assert {"lifetime/return_1", "lifetime/return_7", "lifetime/legs 1 2/return_7"} <= set(tags["scalars"])
    assert {"lifetime/effective_sample_size_2", "lifetime/inner_kl_7"} <= set(tags["scalars"])
    logged = resumed.run.metrics()
    assert [each.step for each in board.Scalars("train/loss")] == [int(step) for step in logged["step"]]


def test_a_film_needs_a_lifetime_that_there_is(runs, tmp_path, capsys):
    words = ["render", str(runs[1].path), "--lifetime", "--out", str(tmp_path / "l.gif")]
    assert cli.main([*words, "--method", "adaptation"]) == 2
    assert "none, tracking" in capsys.readouterr().err
    assert cli.main([*words, "--task", '{"legs": [1, 7]}']) == 2
    assert "legs 5 6" in capsys.readouterr().err


def test_a_world_without_lifetimes_tells_how_to_give_some(tmp_path, capsys):
    config = replace(preset("ppo"), environments=2, horizon=5, batch_size=10, epochs=1, hidden=(4,))
    experiment = Experiment(world="metarl/PointNavigation-v0", steps=10, out=str(tmp_path), evaluate_every=0)
    run = train("ppo", experiment, config, quiet=True)
    assert cli.main(["evaluate", str(run.path), "--lifetimes", "2"]) == 2
    assert """--lifetime '{"schedule": "redraw", "episodes": 10}'""" in capsys.readouterr().err
