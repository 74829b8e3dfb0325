"""Adaptation in a lifetime: importance weights by hand, updates against an independent computation."""

import dataclasses

import numpy as np
import pytest
import torch

from metarl.agents import preset
from metarl.agents.configs import (
    ExecutionConfig,
    InnerConfig,
    MetaPolicyGradient,
    OuterConfig,
    PolicyConfig,
    SamplingConfig,
)
from metarl.agents.estimators import effective_sample_size, importance_weights, standardize
from metarl.agents.execution import _groups, adapt_to_buffer, live
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.policies import GaussianPolicy
from metarl.agents.policy_adaptation import PolicyAdaptation, for_each_task
from metarl.agents.rollouts import Trajectories

WORLD = "metarl/HexapodLegFailure-v0"


def test_importance_weights_by_hand():
    log_ratio = torch.tensor([[0.5, -0.25, 9.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    got = {
        kind: importance_weights(log_ratio, mask, kind, clip=2.5).log()
        for kind in ("trajectory", "per_decision", "step", "none")
    }
    # Weights e^.25 for two steps and e^6 for three; e^.5, e^.25 and e^1, e^3, e^6: both divided by their mean.
    whole = np.log((2 * np.exp(0.25) + 3 * np.exp(6)) / 5)
    torch.testing.assert_close(
        got["trajectory"], torch.tensor([[-2.5] * 3, [6 - whole] * 3], dtype=torch.float32)
    )
    each = np.log((np.exp([0.5, 0.25, 1, 3, 6])).sum() / 5)
    expected = np.array([[0.5, 0.25, 0.25], [1.0, 3.0, 6.0]]) - each
    torch.testing.assert_close(got["per_decision"], torch.tensor(expected.clip(-2.5, 2.5)).float())
    torch.testing.assert_close(got["step"], torch.tensor([[0.5, -0.25, 0.0], [1.0, 2.0, 2.5]]))
    assert (got["none"] == 0).all()


def test_weights_of_trajectories_that_are_all_unlikely_keep_the_size_of_an_update():
    mask = torch.ones(2, 4)
    for kind in ("trajectory", "per_decision"):
        usual = importance_weights(torch.tensor([[0.1], [0.3]]).expand(2, 4), mask, kind, 5.0)
        torch.testing.assert_close(usual.mean(), torch.tensor(1.0))
    near = importance_weights(torch.tensor([[0.1], [0.3]]).expand(2, 4), mask, "trajectory", 5.0)
    far = importance_weights(torch.tensor([[0.1], [0.3]]).expand(2, 4) - 9, mask, "trajectory", 5.0)
    torch.testing.assert_close(far, near)


def test_effective_sample_size_by_hand_and_without_overflow():
    mask = torch.ones(3, 2, dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    log_ratio = torch.stack([weights.log(), torch.zeros_like(weights)], dim=-1)
    torch.testing.assert_close(
        effective_sample_size(log_ratio, mask), torch.tensor(49 / 21, dtype=torch.float64)
    )
    torch.testing.assert_close(
        effective_sample_size(log_ratio * 0, mask), torch.tensor(3.0, dtype=torch.float64)
    )
    torch.testing.assert_close(
        effective_sample_size(log_ratio + 500, mask), torch.tensor(49 / 21, dtype=torch.float64)
    )


def standard_returns_in_numpy(rewards, mask, discount):
    returns, length = np.zeros_like(rewards), rewards.shape[1]
    for t in reversed(range(length)):
        later = discount * returns[:, t + 1] if t + 1 < length else 0
        returns[:, t] = rewards[:, t] * mask[:, t] + later
    returns *= mask
    centre = returns.sum() / mask.sum()
    spread = np.sqrt((((returns - centre) ** 2) * mask).sum() / mask.sum()) + 1e-8
    return (returns - centre) / spread * mask


def log_weights_in_numpy(importance, log_ratio, mask):
    logs = {
        "trajectory": np.repeat(log_ratio.sum(1, keepdims=True), log_ratio.shape[1], 1),
        "per_decision": log_ratio.cumsum(1),
        "step": log_ratio,
        "none": np.zeros_like(log_ratio),
    }[importance]
    if importance in ("trajectory", "per_decision"):
        logs = logs - np.log(np.exp(logs)[mask > 0].mean())
    return logs


@pytest.mark.parametrize("estimator", ["log_prob", "lvc", "dice"])
@pytest.mark.parametrize("importance", ["trajectory", "per_decision", "step", "none"])
def test_the_weighted_update_equals_one_written_out_in_numpy(importance, estimator):
    """Whatever the surrogate, its gradient is that of eq. 9: weight times advantage times score.

    A linear Gaussian policy with a constant spread, whose score is (a - W s - b) s' / std^2.
    """
    rng = np.random.default_rng(0)
    B, H, D, A, STEPS, LR = 3, 4, 2, 2, 2, 0.05
    config = MetaPolicyGradient(
        policy=PolicyConfig(hidden=(), initial_std=0.5),
        sampling=SamplingConfig(baseline="none", discount=0.9, gae_lambda=1.0),
        inner=InnerConfig(steps=STEPS, lr=LR, estimator=estimator),
        outer=OuterConfig(step="ppo", score_terms=estimator == "log_prob"),
        execution=ExecutionConfig(importance=importance, clip=0.7),
    )
    policy = GaussianPolicy(D, A, config.policy).double()
    obs, noise = rng.normal(size=(B, H, D)), rng.normal(size=(B, H, A))
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1.0]])
    rewards = rng.normal(size=(B, H))
    mean, std = rng.normal(size=(B, H, A)) * 0.3, 0.6
    actions = mean + std * noise
    tensors = dict(
        raw_obs=obs,
        obs=obs,
        actions=actions,
        rewards=rewards,
        mask=mask,
        mean=mean,
        log_std=np.full((B, H, A), np.log(std)),
    )
    buffer = Trajectories(**{name: torch.from_numpy(value)[None] for name, value in tensors.items()})
    adaptation = PolicyAdaptation(policy, config.inner)
    start = for_each_task({f"policy.{name}": value for name, value in policy.named_parameters()}, 1)
    adapted, _, measures = adapt_to_buffer(adaptation, start, buffer, config)

    weight = policy.network.layers[0].weight.detach().numpy().copy()
    bias = policy.network.layers[0].bias.detach().numpy().copy()
    log_std = policy.log_std.detach().numpy().copy()
    advantages = standard_returns_in_numpy(rewards, mask, 0.9)
    sampled = (-0.5 * noise**2 - np.log(std)).sum(-1)
    for step in range(STEPS):
        z = (actions - obs @ weight.T - bias) / np.exp(log_std)
        log_ratio = ((-0.5 * z**2 - log_std).sum(-1) - sampled) * mask
        if step == 0:
            w = np.exp(log_ratio.sum(1))
            np.testing.assert_allclose(
                measures["effective_sample_size"], w.sum() ** 2 / (w**2).sum(), rtol=1e-9
            )
        logs = log_weights_in_numpy(importance, log_ratio, mask)
        factor = np.exp(np.clip(logs, -0.7, 0.7)) * advantages * mask / mask.sum()
        score_mean = z / np.exp(log_std)
        weight = weight + LR * np.einsum("bh,bha,bhd->ad", factor, score_mean, obs)
        bias = bias + LR * np.einsum("bh,bha->a", factor, score_mean)
        log_std = log_std + LR * np.einsum("bh,bha->a", factor, z**2 - 1)
    np.testing.assert_allclose(adapted["policy.network.layers.0.weight"][0], weight, rtol=1e-9)
    np.testing.assert_allclose(adapted["policy.network.layers.0.bias"][0], bias, rtol=1e-9)
    np.testing.assert_allclose(adapted["policy.log_std"][0], log_std, rtol=1e-9)


@pytest.mark.parametrize("together", [True, False])
def test_advantages_are_seen_beside_those_of_the_same_task(together):
    x = torch.tensor([[1.0, 3.0, 9.0], [5.0, 7.0, 9.0], [2.0, 2.0, 8.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    groups = torch.tensor([0, 0, 2] if together else [0, 1, 2])
    got, scale = standardize(x, mask, groups)
    means = [[4.0], [4.0], [4.0]] if together else [[2.0], [6.0], [4.0]]
    centred = (x - torch.tensor(means)) * mask
    wanted = (centred.square().sum() / 7).sqrt()
    torch.testing.assert_close(scale, wanted)
    torch.testing.assert_close(got, centred / wanted)


def test_episodes_belong_with_the_first_one_of_their_task():
    A, B, C, D = ({"legs": [leg, leg + 1]} for leg in range(4))
    assert _groups([[A, B], [A, C], [D, B]]).tolist() == [[0, 0, 2], [0, 1, 0]]


def small(**execution):
    config = preset("continuous-adaptation")
    return dataclasses.replace(
        config,
        policy=dataclasses.replace(config.policy, hidden=(16, 16), context_size=4),
        sampling=dataclasses.replace(config.sampling, tasks=2, trajectories=2, horizon=12),
        execution=ExecutionConfig(**execution),
    )


def lifetimes_of(training, num=2):
    return training.env.sample_lifetimes(num, "test", np.random.default_rng(5))


def test_lives_repeat_and_the_first_episode_is_the_same_whether_adapting_or_not():
    training = MetaPolicyGradientTraining(WORLD, small(importance="none"))
    lifetimes = lifetimes_of(training)
    lives = [
        training.live(lifetimes, np.random.default_rng(1), method)
        for method in ("adaptation", "adaptation", "none")
    ]
    np.testing.assert_array_equal(lives[0].returns, lives[1].returns)
    np.testing.assert_array_equal(lives[0].returns[:, 0], lives[2].returns[:, 0])
    assert (lives[0].returns[:, 1:] != lives[2].returns[:, 1:]).all()
    assert lives[0].returns.shape == (2, 7)
    assert np.isnan(lives[0].measures["effective_sample_size"][:, 0]).all()
    assert np.isfinite(lives[0].measures["inner_kl"][:, 1:]).all()
    assert set(lives[2].measures) == {"speed"}


def test_the_divergence_is_of_the_adapted_policy_from_the_starting_one(monkeypatch):
    """Two inner steps that double the spread; KL(N(0, 1) || N(0, 4^2)) is log 4 + 1/32 - 1/2, twelve times."""

    def wider(self, params, valued, step):
        return params | {"policy.log_std": params["policy.log_std"] + np.log(2)}

    monkeypatch.setattr(PolicyAdaptation, "step_tasks", wider)
    config = small(importance="none")
    config = dataclasses.replace(config, inner=dataclasses.replace(config.inner, steps=2))
    training = MetaPolicyGradientTraining(WORLD, config)
    lives = training.live(lifetimes_of(training), np.random.default_rng(1))
    np.testing.assert_allclose(lives.measures["inner_kl"][:, 1:], 12 * 0.917544, rtol=1e-5)


def test_a_lifetime_does_not_depend_on_those_lived_beside_it():
    training = MetaPolicyGradientTraining(WORLD, small(importance="step"))
    lifetimes = lifetimes_of(training, 3)
    start = for_each_task(dict(training.module.named_parameters()), 1)
    together = training.live(lifetimes, np.random.default_rng(1))

    env = training._make_env(1)
    alone = live(
        training.adaptation,
        training.module.normalizer,
        start,
        env,
        lifetimes[:1],
        FirstOfThree(),
        training.config,
    )
    env.close()
    np.testing.assert_allclose(alone.returns, together.returns[:1], rtol=0.01, atol=0.01)


class FirstOfThree:
    """Gives lifetime 0 the starts and the generator that it has among three."""

    def __init__(self):
        whole = np.random.default_rng(1)
        self.seeds = whole.integers(2**31, size=(7, 3))[:, :1]
        self.child = whole.spawn(3)[0]

    def integers(self, *args, **kwargs):
        return self.seeds

    def spawn(self, num):
        return [self.child]


def test_collapsed_weights_are_warned_of():
    config = small(importance="trajectory")
    config = dataclasses.replace(config, inner=dataclasses.replace(config.inner, lr=0.1, clip=None))
    training = MetaPolicyGradientTraining(WORLD, config)
    with pytest.warns(UserWarning, match="importance weights have collapsed"):
        lives = training.live(lifetimes_of(training), np.random.default_rng(0))
    assert np.nanmean(lives.measures["effective_sample_size"][:, 3:]) < 1.5


@pytest.mark.filterwarnings("ignore:importance weights")
def test_an_update_that_breaks_down_is_not_taken():
    config = small(importance="none")
    config = dataclasses.replace(config, inner=dataclasses.replace(config.inner, lr=1e30, clip=None))
    training = MetaPolicyGradientTraining(WORLD, config)
    lifetimes = lifetimes_of(training)
    lives = [training.live(lifetimes, np.random.default_rng(0), method) for method in ("adaptation", "none")]
    np.testing.assert_array_equal(lives[0].returns, lives[1].returns)
    assert (lives[0].measures["inner_kl"][:, 1:] == 0).all()


@pytest.mark.filterwarnings("ignore:importance weights")
@pytest.mark.parametrize("agent", ["maml", "promp", "cavia", "meta-sgd"])
def test_other_meta_policies_adapt_in_lifetimes_too(agent):
    config = preset(agent)
    config = dataclasses.replace(
        config, sampling=dataclasses.replace(config.sampling, tasks=2, trajectories=2, horizon=12)
    )
    training = MetaPolicyGradientTraining(WORLD, config)
    lives, still = (
        training.live(lifetimes_of(training), np.random.default_rng(0), method)
        for method in ("adaptation", "none")
    )
    assert np.isfinite(lives.returns).all()
    np.testing.assert_array_equal(lives.returns[:, 0], still.returns[:, 0])
    assert (lives.returns[:, 1:] != still.returns[:, 1:]).all()
