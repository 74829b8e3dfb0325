"""Agents with memory at work: in lifetimes, by hand, and trained end to end."""

import numpy as np
import pytest
import torch

import metarl
from metarl import checkpoints
from metarl.agents.agent import Agent
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.experiment import Experiment
from metarl.agents.lives import episode_seeds
from metarl.agents.rollouts import make_world
from metarl.agents.starting import start_from
from tests.agents.recurrent import HEXAPOD, lstm_policy, training


@pytest.mark.parametrize("memory", ["episode", "lifetime"])
def test_a_lifetime_is_what_predict_does_in_the_same_world(memory):
    algorithm = training(
        world=HEXAPOD, horizon=6, policy=lstm_policy(memory=memory, context_size=16), trajectories=2
    )
    lifetimes = algorithm.env.sample_lifetimes(2, "test", np.random.default_rng(5))
    lives = algorithm.live(lifetimes, np.random.default_rng(1), "none", keep_actions=True)
    rng = np.random.default_rng(1)
    seeds, rngs = episode_seeds(rng, 2, 7), rng.spawn(2)
    agent = Agent(algorithm.module, algorithm.config)
    std = algorithm.module.policy.log_std.detach().exp().numpy()
    env = make_world(HEXAPOD, 2, 6)
    state = None
    for episode in range(7):
        obs, _ = env.reset(
            seed=[int(s) for s in seeds[episode]], options={"tasks": [each[episode] for each in lifetimes]}
        )
        noise = [each.standard_normal((6, 1, 12), dtype=np.float32)[:, 0] for each in rngs]
        for h in range(6):
            start = np.full(2, h == 0 and (memory == "episode" or episode == 0))
            mean, state = agent.predict(obs, state, start, deterministic=True)
            actions = mean + std * np.stack([each[h] for each in noise])
            np.testing.assert_allclose(actions, lives.actions[:, episode, h], rtol=1e-3, atol=1e-4)
            obs, *_ = env.step(lives.actions[:, episode, h])


def test_what_is_remembered_changes_what_is_done_in_the_second_episode():
    lives = []
    for memory in ("episode", "lifetime"):
        algorithm = training(
            world=HEXAPOD, horizon=6, policy=lstm_policy(memory=memory, context_size=16), trajectories=2
        )
        lifetimes = algorithm.env.sample_lifetimes(2, "test", np.random.default_rng(5))
        lives.append(algorithm.live(lifetimes, np.random.default_rng(1), "none").returns)
    np.testing.assert_array_equal(lives[0][:, 0], lives[1][:, 0])
    assert (lives[0][:, 1:] != lives[1][:, 1:]).all()


def test_predict_keeps_and_forgets_as_told():
    algorithm = training(policy=lstm_policy(context_size=16))
    agent = Agent(algorithm.module, algorithm.config)
    obs = np.random.default_rng(0).normal(size=(3, 2))
    first, state = agent.predict(obs, deterministic=True)
    assert state.shape == (3, 10)
    second, _ = agent.predict(obs, state, deterministic=True)
    mixed, _ = agent.predict(obs, state, np.array([True, False, True]), deterministic=True)
    np.testing.assert_array_equal(mixed[[0, 2]], first[[0, 2]])
    np.testing.assert_array_equal(mixed[1], second[1])
    assert (first != second).all()
    action, single = agent.predict(obs[1], state[1], False, deterministic=True)
    np.testing.assert_allclose(action, second[1], rtol=1e-5)
    assert single.shape == (10,)
    with pytest.raises(ValueError, match="state of shape"):
        agent.predict(obs, state[:2])


@pytest.mark.parametrize("memory", ["episode", "lifetime"])
def test_episodes_weigh_one_while_the_policy_that_sampled_them_has_hardly_moved(memory):
    """Their memories are those that were recorded, from earlier episodes too."""
    algorithm = training(
        world=HEXAPOD, horizon=6, policy=lstm_policy(memory=memory, context_size=16, initial_std=0.2)
    )
    with torch.no_grad():
        algorithm.module.policy.network.head.weight.mul_(5)
        for name, value in algorithm.module.named_parameters():
            if name.startswith("rule."):
                value.fill_(1e-9)
    lifetimes = algorithm.env.sample_lifetimes(2, "test", np.random.default_rng(5))
    lives = algorithm.live(lifetimes, np.random.default_rng(1))
    expected = [[1, 2, 3, 3, 3, 3]] * 2
    np.testing.assert_allclose(lives.measures["effective_sample_size"][:, 1:], expected, rtol=1e-5)


@pytest.mark.parametrize(("changes", "told"), [({"hidden": (8,)}, "two numbers"), ({"unroll": 0}, "unroll")])
def test_what_makes_no_sense_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        MetaPolicyGradient(policy=lstm_policy(**changes))


def trained(agent, out, steps, **settings):
    return metarl.train(
        agent,
        "metarl/PointNavigation-v0",
        quiet=True,
        steps=steps,
        seed=5,
        out=str(out),
        evaluate_every=0,
        policy={"body": "lstm", "hidden": (5, 4), "unroll": 4},
        sampling={"tasks": 3, "trajectories": 4, "horizon": 10, "unit": "task"},
        **settings,
    )


def tensors(run):
    return checkpoints.load(checkpoints.latest(run.run.checkpoints))[0]


@pytest.mark.parametrize(
    "agent", [name for name in metarl.AGENTS if isinstance(metarl.preset(name), MetaPolicyGradient)]
)
def test_every_meta_policy_trains_with_a_memory_and_resumes_exactly(agent, tmp_path):
    per_iteration = 3 * 4 * 10 * (metarl.preset(agent).inner.steps + 1)
    whole = trained(agent, tmp_path / "whole", 2 * per_iteration)
    half = trained(agent, tmp_path / "half", per_iteration)
    before = tensors(half)
    resumed = metarl.resume(half.path, steps=2 * per_iteration, quiet=True)
    expected, got = tensors(whole), tensors(resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    cells = [name for name in got if "network.cell" in name and name.startswith("module.policy")]
    assert cells
    assert all(not torch.equal(before[name], got[name]) for name in cells)

    scores = resumed.evaluate(inner_steps=2, tasks=2, repeats=1, trajectories=3).scores
    assert np.isfinite(scores).all()
    agent = resumed.agent
    adapted = agent.adapt(agent.sample(make_world("metarl/PointNavigation-v0", 4, 10), {"goal": [0.3, 0.3]}))
    assert adapted.predict(np.zeros(2))[1].shape == (8,)


def test_a_perceptron_is_no_start_for_a_memory(tmp_path):
    settings = {"tasks": 2, "trajectories": 2, "horizon": 5}
    perceptron = metarl.train(
        "promp",
        "metarl/PointNavigation-v0",
        quiet=True,
        steps=40,
        out=str(tmp_path),
        policy={"hidden": (5, 4)},
        sampling=settings,
    )
    with pytest.raises(ValueError, match="holds no policy"):
        trained("promp", tmp_path, 100, start_from=str(perceptron.path))
    first = trained("promp", tmp_path, 100)
    algorithm = training("promp", policy=lstm_policy(hidden=(5, 4)))
    start_from(algorithm, Experiment("metarl/PointNavigation-v0", steps=1, start_from=str(first.path)))
    module = algorithm.module
    assert torch.equal(
        module.policy.network.cell.weight_hh, tensors(first)["module.policy.network.cell.weight_hh"]
    )
