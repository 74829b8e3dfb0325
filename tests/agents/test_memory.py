"""Agents with memory: lifetimes as one long episode, sequences against sb3-contrib's own, living by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import nn

from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.lifetime_vec_env import LifetimeVecEnv
from metarl.agents.lives import episode_seeds
from metarl.agents.rollouts import make_world
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_sequences import SequencePolicy
from metarl.agents.sb3_training import shuffling
from metarl.training import check_finite, generator

POINT = "metarl/PointNavigation-v0"
GOALS = [[{"goal": [0.1 * e, 0.2 * i]} for e in range(3)] for i in range(2)]
SEEDS = np.arange(6).reshape(3, 2)
pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


def training(agent="rl2", world=POINT, **changes):
    small = {
        "environments": 3,
        "horizon": 7,
        "episodes": 3,
        "batch_size": 10,
        "unroll": 4,
        "epochs": 2,
        "memory": 6,
    }
    config = replace(preset(agent), hidden=(8,), **small | changes)
    return MemoryTraining(Experiment(world, seed=3), config, torch.device("cpu"))


def actions(num, size=2, seed=0):
    return list(np.random.default_rng(seed).uniform(-1, 1, size=(num, 2, size)).astype(np.float32))


def test_a_lifetime_is_one_long_episode_over_all_its_tasks():
    env = LifetimeVecEnv(make_world(POINT, 2, 4))
    env.begin(GOALS, SEEDS)
    env.reset()
    rewards, dones = [], []
    for action in actions(12):
        _, reward, done, infos = env.step(action)
        rewards.append(reward)
        dones.append(done)
    assert np.array_equal(np.stack(dones).nonzero()[0], [11, 11])
    assert all(info["TimeLimit.truncated"] for info in infos)
    plain = make_world(POINT, 2, 4)
    for e in range(3):
        plain.reset(seed=SEEDS[e].tolist(), options={"tasks": [life[e] for life in GOALS]})
        alone = [plain.step(action)[1] for action in actions(12)[4 * e : 4 * e + 4]]
        np.testing.assert_allclose(np.stack(rewards)[4 * e : 4 * e + 4], np.stack(alone), rtol=1e-6)
        np.testing.assert_allclose(env.returns[:, e], np.sum(alone, axis=0))
    assert (env.lengths == 4).all()


def test_feedback_tells_what_was_done_and_where_episodes_start():
    env = LifetimeVecEnv(make_world(POINT, 2, 2), feedback=True)
    env.begin(GOALS, SEEDS)
    first = env.reset()
    assert env.observation_space.shape == (2 + 2 + 3,)
    np.testing.assert_array_equal(first[:, 2:], [[0, 0, 0, 0, 1]] * 2)
    seen = []
    for step, action in enumerate(actions(6)):
        obs, reward, _, infos = env.step(action)
        seen.append(obs)
        if step < 5:
            np.testing.assert_allclose(obs[:, 2:4], action)
            np.testing.assert_allclose(obs[:, 4], reward, rtol=1e-6)
    assert [obs[0, 6] for obs in seen] == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(seen[-1][:, 2:], [[0, 0, 0, 0, 1]] * 2)  # a new life knows of none before
    np.testing.assert_allclose(infos[0]["terminal_observation"][2:4], actions(6)[-1][0])
    assert infos[0]["terminal_observation"][6] == 0


def test_a_fall_ends_the_episode_and_only_the_last_one_ends_the_lifetime():
    env = LifetimeVecEnv(make_world("metarl/HopperParams-v0", 2, 200), feedback=True)
    tasks = env.env.sample_tasks(2, rng=np.random.default_rng(0))
    env.begin([[task] * 2 for task in tasks], SEEDS[:2])
    env.reset()
    fallen = np.zeros((2, 2), dtype=int)
    ended = np.zeros(2, dtype=bool)
    for action in actions(400, size=3):
        obs, _, done, infos = env.step(action)
        for i in np.flatnonzero(done & ~ended):
            assert infos[i]["TimeLimit.truncated"] == (env.lengths[i, 1] == 200)
            assert infos[i]["terminal_observation"][-2] == (env.lengths[i, 1] < 200)
        fallen += obs[:, -2:].astype(int) * ~(ended | done)[:, None]
        ended |= done
        if ended.all():
            break
    assert ended.all()
    assert (env.lengths < 200).all()
    assert np.array_equal(
        fallen, np.ones((2, 2))
    )  # the end of the first episode: terminated, and a new start


@pytest.mark.parametrize("inner_start", [False, True])
def test_sequences_go_through_the_lstm_as_in_sb3_contrib(inner_start):
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 5)
    features, states = torch.randn(4 * 6, 3), (torch.randn(1, 4, 5), torch.randn(1, 4, 5))
    starts = torch.zeros(4, 6)
    starts[1, 0] = 1
    starts[2, 3] = inner_start
    expected = RecurrentActorCriticPolicy._process_sequence(features, states, starts.flatten(), lstm)
    got = SequencePolicy._process_sequence(features, states, starts.flatten(), lstm)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1])
    kept = SequencePolicy._process_sequence(features, states, torch.zeros(24), lstm)[0]
    assert not torch.allclose(kept.reshape(4, 6, 5)[1], got[0].reshape(4, 6, 5)[1])


@pytest.mark.parametrize(("world", "horizon"), [(POINT, 7), ("metarl/HopperParams-v0", 30)])
def test_minibatches_hold_every_step_with_the_memory_it_was_sampled_with(world, horizon):
    """Log-probabilities and values come out of the sequences as they came out of the rollout, step by step."""
    trained = training(world=world, horizon=horizon)
    trained.collect(generator(3, 1, "collect"))
    before = [each.clone() for each in trained.module.parameters()]
    trained.optimizer.update(None)
    assert any(not torch.equal(a, b) for a, b in zip(before, trained.module.parameters(), strict=True))
    normalizers = [each for each in trained.module.modules() if hasattr(each, "squares")]
    statistics = [{name: x.clone() for name, x in each.state_dict().items()} for each in normalizers]
    trained.collect(generator(3, 2, "collect"))
    for normalizer, state in zip(normalizers, statistics, strict=True):
        normalizer.load_state_dict(state)  # those that the rollout was sampled with
    assert len(normalizers) == 2
    advantages = []
    for batch in trained.model.rollout_buffer.get(10):
        mask = batch.mask > 0
        values, log_probs, _ = trained.module.evaluate_actions(
            batch.observations, batch.actions, batch.lstm_states, batch.episode_starts
        )
        torch.testing.assert_close(values.flatten()[mask], batch.old_values[mask], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(log_probs[mask], batch.old_log_prob[mask], atol=1e-4, rtol=1e-4)
        advantages.append(batch.advantages[mask])
    expected = np.sort(trained.model.rollout_buffer.advantages.flatten())
    np.testing.assert_array_equal(np.sort(torch.cat(advantages)), expected)


def test_values_reach_over_the_ends_of_episodes_and_beyond_the_lifetime():
    trained = training("recurrent-ppo")
    rewards, last = [], []
    step = trained._lifetimes_env.step_wait

    def watched():
        result = step()
        rewards.append(result[1].copy())  # before the value of what would come is added
        last.append(result[3])
        return result

    trained._lifetimes_env.step_wait = watched
    trained.collect(generator(3, 1, "collect"))
    buffer, config = trained.model.rollout_buffer, trained.config
    added = buffer.rewards - np.stack(rewards)
    assert (added[:-1] == 0).all()
    assert (added[-1] != 0).all()
    assert buffer.episode_starts.sum() == 3
    advantage = np.zeros(3)
    for t in reversed(range(len(rewards))):
        following = buffer.values[t + 1] if t + 1 < len(rewards) else 0
        error = buffer.rewards[t] + config.discount * following - buffer.values[t]
        advantage = error + config.discount * config.gae_lambda * advantage
        np.testing.assert_allclose(buffer.advantages[t], advantage, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agent", ["recurrent-ppo", "rl2"])
def test_living_keeps_the_memory_from_episode_to_episode(agent):
    """Against episodes run one by one, the state handed on and the feedback written out."""
    trained = training(agent)
    lives = trained.live(GOALS, np.random.default_rng(5), keep_actions=True)
    rng = np.random.default_rng(5)
    seeds = episode_seeds(rng, 2, 3)
    torch.manual_seed(int(rng.integers(2**31)))
    world, state, empty = make_world(POINT, 2, 7), None, np.ones(2, dtype=bool)
    feedback = np.zeros((2, 5), dtype=np.float32)
    for e in range(3):
        obs, _ = world.reset(seed=seeds[e].tolist(), options={"tasks": [life[e] for life in GOALS]})
        feedback[:, 4] = 1
        total = np.zeros(2)
        for t in range(7):
            seen = np.concatenate([obs, feedback], axis=1) if agent == "rl2" else obs
            action, state = trained.model.predict(seen.astype(np.float32), state, empty)
            np.testing.assert_array_equal(action, lives.actions[:, e, t])
            obs, reward, terminated, _, _ = world.step(action)
            total += reward
            feedback = np.column_stack([action, reward, terminated, np.zeros(2)])
            empty = np.zeros(2, dtype=bool)
        np.testing.assert_allclose(lives.returns[:, e], total)


def test_an_agent_with_memory_is_judged_by_episodes_of_one_task():
    trained = training()
    returns = trained.returns_after_adapting([{"goal": [0.2, 0.1]}] * 2, np.random.default_rng(0), 2, 4)
    assert returns.shape == (2, 3)
    metrics = trained.evaluate(np.random.default_rng(0))
    assert set(metrics) == {"eval/return_0", "eval/return_1", "eval/return_2", "eval/gain"}


def test_whole_lifetimes_are_lived_where_the_world_has_them():
    trained = training("recurrent-ppo", "metarl/HexapodLegFailure-v0", episodes=1)
    batch = trained.collect(generator(0, 1, "collect"))
    assert batch.steps == 3 * 7 * 7
    assert [task["torque"] for task in trained._lifetimes_env.lifetimes[0]] == pytest.approx(
        [1 - e / 6 for e in range(7)]
    )
    assert {"lifetime/return_1", "lifetime/return_7", "lifetime/speed_1"} <= set(
        trained.evaluate(np.random.default_rng(0))
    )


def test_rl2_learns_to_use_what_it_found_out():
    """A smoke test: the goal is told by the reward alone, so only memory can make later episodes better."""
    sizes = {"environments": 24, "horizon": 30, "batch_size": 250, "unroll": 30, "epochs": 10, "memory": 32}
    trained = training(**sizes, lr=2e-3, discount=0.95)
    metrics = []
    for i in range(1, 21):
        metrics.append(trained.collect(generator(3, i, "collect")).metrics)
        trained.optimizer.update(None)
    assert metrics[-1]["rollout/ep_rew_mean"] > 0.7 * metrics[0]["rollout/ep_rew_mean"]
    assert np.mean([each["adapt/gain"] for each in metrics[-4:]]) > 0.5


@pytest.mark.parametrize(
    "wrong", [{"unroll": 0}, {"environments": 0}, {"batch_size": 0}, {"initial_std": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(preset("rl2"), **wrong)


def test_no_minibatch_has_a_single_step():
    """Of 9 steps in sequences of 8 the second has one that is not filled up; each sequence would be a minibatch."""
    trained = training("recurrent-ppo", horizon=9, episodes=1, unroll=8, batch_size=8)
    trained.collect(generator(3, 1, "collect"))
    for seed in range(10):
        with shuffling(seed):
            lengths = [int(each.mask.sum()) for each in trained.model.rollout_buffer.get(8)]
        assert sum(lengths) == 3 * 9
        assert min(lengths) > 1
    trained.optimizer.update(None)
    check_finite(trained.module)
