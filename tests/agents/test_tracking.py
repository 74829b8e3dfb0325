"""PPO in lifetimes: tracking against Stable-Baselines3's own update, copies that do not touch one another."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.agents import preset, tracking
from metarl.agents.experiment import Experiment
from metarl.agents.ppo import TrackingConfig
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.tracking import Episode, _buffer, copied, update
from metarl.training import generator

POINT = "metarl/PointNavigation-v0"
LIFETIMES = [[{"goal": [0.1 * i, 0.2]} for i in range(4)], [{"goal": [-0.3, 0.1 * i]} for i in range(4)]]


pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


def trained(world=POINT, lr=3e-4, **changes):
    """PPO after one iteration, so that statistics and Adam's moments are not those of the start."""
    config = replace(preset("ppo"), environments=3, horizon=12, batch_size=8, epochs=2, hidden=(8,), lr=lr)
    training = PPOTraining(Experiment(world, seed=3), replace(config, **changes), torch.device("cpu"))
    training.collect(generator(3, 1, "collect"))
    training.optimizer.update(None)
    return training


def lived(training, method, lifetimes=LIFETIMES):
    return training.live(lifetimes, np.random.default_rng(0), method, keep_actions=True)


def test_tracking_without_a_step_size_is_no_adaptation():
    training = trained(tracking=TrackingConfig(lr=0.0))
    none, tracked = lived(training, "none"), lived(training, "tracking")
    assert np.array_equal(none.returns, tracked.returns)
    assert np.array_equal(none.actions, tracked.actions)
    assert (tracked.measures["inner_kl"][:, 1:] == 0).all()
    assert none.returns.shape == (2, 4)


def test_tracking_changes_what_comes_after_the_first_episode_only():
    training = trained(tracking=TrackingConfig(lr=1e-2))
    before = copy.deepcopy(training.module.state_dict())
    none, tracked = lived(training, "none"), lived(training, "tracking")
    assert np.array_equal(none.actions[:, 0], tracked.actions[:, 0])
    assert (none.actions[:, 1:] != tracked.actions[:, 1:]).any(axis=(2, 3)).all()
    assert all(torch.equal(before[name], value) for name, value in training.module.state_dict().items())


def test_the_divergence_is_of_the_tracking_policy_from_the_trained_one(monkeypatch):
    """Every update doubles the spread; KL(N(0, 1) || N(0, s^2)) is log s + 1/(2 s^2) - 1/2 for each of two actions."""

    def wider(model, policy, *rest):
        with torch.no_grad():
            policy.log_std += np.log(2)

    monkeypatch.setattr(tracking, "update", wider)
    lives = lived(trained(), "tracking")
    expected = [np.nan, 2 * 0.318147, 2 * 0.917544, 2 * 1.587254]
    np.testing.assert_allclose(lives.measures["inner_kl"], [expected] * 2, rtol=1e-5)


def test_rewards_are_learned_from_at_the_scale_of_training(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tracking, "update", lambda model, policy, episode, *rest: seen.append(episode.rewards)
    )
    lives = lived(trained(reward_scale=0.1), "tracking")
    earned = np.reshape([rewards.sum() for rewards in seen], (3, 2)).T
    np.testing.assert_allclose(earned, 0.1 * lives.returns[:, :3], rtol=1e-5)


def test_lifetimes_are_tracked_by_copies_of_their_own():
    training = trained(tracking=TrackingConfig(lr=1e-2))
    other = [LIFETIMES[0], [{"goal": [0.4, -0.4]}] * 4]
    first, second = lived(training, "tracking"), lived(training, "tracking", other)
    assert np.array_equal(first.actions[0], second.actions[0])
    assert not np.array_equal(first.actions[1, 1:], second.actions[1, 1:])


def test_a_lifetime_is_tracked_anew_each_time():
    training = trained(tracking=TrackingConfig(lr=1e-2))
    assert np.array_equal(lived(training, "tracking").returns, lived(training, "tracking").returns)


@pytest.mark.parametrize("changes", [{}, {"lr": 1e-3, "epochs": 3, "batch_size": 5}])
def test_an_update_is_the_one_that_sb3_would_make(changes):
    """SB3 fills its buffer and trains; the same steps go through `update`."""
    training = trained(environments=1)
    model, config = training.model, TrackingConfig(**changes)
    own = copied(model.policy)
    rewards = []
    step = training._sb3_env.step_wait

    def watched():
        result = step()
        rewards.append(float(result[1][0]))  # before SB3 adds the value after a time limit to it
        watched.infos = result[3]
        return result

    training._sb3_env.step_wait = watched
    training.collect(generator(3, 2, "collect"))
    buffer, last = model.rollout_buffer, watched.infos[0]["terminal_observation"]
    obs, actions = buffer.observations[:, 0].copy(), buffer.actions[:, 0].copy()
    start = copy.deepcopy(own.state_dict())
    update(model, own, Episode(obs, actions, np.array(rewards), last, cut=True), config, seed=9)

    # `collect` has taken in statistics; SB3's values and ours came of those before.
    model.policy.features_extractor.normalizer.load_state_dict(own.features_extractor.normalizer.state_dict())
    model.n_epochs = changes.get("epochs", model.n_epochs)
    model.batch_size = changes.get("batch_size", model.batch_size)
    if "lr" in changes:
        model.lr_schedule = lambda _: changes["lr"]
    training.optimizer.seed = 9
    training.optimizer.update(None)
    for name, expected in model.policy.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(start["action_net.weight"], own.state_dict()["action_net.weight"])


def test_an_episode_that_reached_its_end_is_not_valued_beyond_it():
    """Two runs of the update on the same steps differ by how the episode ended."""
    training = trained()
    rng = np.random.default_rng(0)
    episode = Episode(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.normal(size=6), np.ones(2), True)
    cut = _buffer(training.model, training.module, episode)
    over = _buffer(training.model, training.module, replace(episode, cut=False))
    with torch.no_grad():
        value = float(training.module.predict_values(torch.ones(1, 2)))
    assert cut.rewards[-1, 0] - over.rewards[-1, 0] == pytest.approx(training.config.discount * value)
    assert over.advantages[-1, 0] == pytest.approx(float(over.rewards[-1, 0] - over.values[-1, 0]), abs=1e-5)
    assert np.array_equal(cut.rewards[:-1], over.rewards[:-1])


@pytest.mark.parametrize(("lifetimes", "expected"), [(True, {1 - e / 6 for e in range(7)}), (False, {1.0})])
def test_training_is_on_the_episodes_of_lifetimes_or_before_any_leg_failed(lifetimes, expected):
    training = trained("metarl/HexapodLegFailure-v0", environments=60, horizon=2, lifetimes=lifetimes)
    got = {training.env.get_task()[i]["torque"] for i in range(60)}
    assert sorted(got) == pytest.approx(sorted(expected))


def test_a_world_that_tells_its_speed_has_it_measured():
    training = trained("metarl/HexapodLegFailure-v0")
    lives = training.live([[{"legs": [1, 2], "torque": t} for t in (1.0, 0.5)]] * 2, np.random.default_rng(0))
    assert lives.measures["speed"].shape == (2, 2)
    assert np.isfinite(lives.measures["speed"]).all()


def test_tracking_learns_in_a_long_lifetime():
    """A smoke test: many episodes of one task, and it is done better at the end."""
    config = TrackingConfig(lr=1e-2, epochs=5, batch_size=50)
    training = trained(tracking=config, horizon=100, discount=0.9)
    lifetimes = [[{"goal": [0.4, 0.4]}] * 20] * 4
    returns = training.live(lifetimes, np.random.default_rng(1), "tracking").returns.mean(0)
    assert returns[-6:].mean() > returns[:6].mean() + 10


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"epochs": 0}, {"batch_size": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="tracking"):
        TrackingConfig(**wrong)


def test_an_update_that_breaks_down_is_not_taken():
    training = trained(tracking=TrackingConfig(lr=1e30))
    none, tracked = lived(training, "none"), lived(training, "tracking")
    assert np.array_equal(none.returns, tracked.returns)
    assert (tracked.measures["inner_kl"][:, 1:] == 0).all()
