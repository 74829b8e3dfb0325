"""The policy's arithmetic against torch.distributions and numpy."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as reference_kl
from torch.func import functional_call

from metarl.agents.configs import PolicyConfig
from metarl.agents.policies import (
    GaussianPolicy,
    ObservationNormalizer,
    entropy,
    kl_divergence,
    log_probability,
)


@pytest.fixture
def gaussians():
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(5, 3, generator=generator) for _ in range(5)]


def test_densities_agree_with_torch_distributions(gaussians):
    mean, log_std, other_mean, other_log_std, actions = gaussians
    one = Independent(Normal(mean, log_std.exp()), 1)
    other = Independent(Normal(other_mean, other_log_std.exp()), 1)
    torch.testing.assert_close(log_probability(actions, mean, log_std), one.log_prob(actions))
    torch.testing.assert_close(entropy(log_std), one.entropy())
    torch.testing.assert_close(
        kl_divergence(mean, log_std, other_mean, other_log_std), reference_kl(one, other)
    )


@pytest.mark.parametrize(
    "config",
    [
        PolicyConfig(hidden=(8,)),
        PolicyConfig(hidden=(8,), spread="network"),
        PolicyConfig(hidden=(8,), context_size=3),
    ],
)
def test_one_call_serves_many_tasks_as_one_call_each_would(config):
    policy = GaussianPolicy(4, 2, config)
    names = dict(policy.named_parameters())
    generator = torch.Generator().manual_seed(0)
    stacked = {n: p.detach() + 0.1 * torch.randn(3, *p.shape, generator=generator) for n, p in names.items()}
    obs_TBHD = torch.randn(3, 5, 7, 4, generator=generator)
    # A leading task axis of the parameters needs one of the observations, then one axis of environments.
    together = functional_call(policy, stacked, (obs_TBHD.reshape(3, 35, 4),))
    for t in range(3):
        alone = functional_call(policy, {n: p[t] for n, p in stacked.items()}, (obs_TBHD[t],))
        for many, single in zip(together, alone, strict=True):
            torch.testing.assert_close(many[t].reshape(5, 7, 2), single)


def test_the_policy_starts_with_the_spread_asked_for():
    for spread in ("parameter", "network"):
        torch.manual_seed(0)
        policy = GaussianPolicy(4, 2, PolicyConfig(spread=spread, initial_std=0.5))
        _, log_std = policy(torch.zeros(1, 4))
        np.testing.assert_allclose(log_std.exp().detach().numpy(), 0.5, rtol=1e-5)


def test_the_spread_has_a_floor():
    policy = GaussianPolicy(4, 2, PolicyConfig(minimum_std=0.3))
    with torch.no_grad():
        policy.log_std.fill_(-10)
    torch.testing.assert_close(policy(torch.zeros(1, 4))[1].exp(), torch.full((1, 2), 0.3))


def test_context_moves_the_mean_and_is_not_trained():
    policy = GaussianPolicy(4, 2, PolicyConfig(context_size=2))
    assert not policy.context.requires_grad
    obs = torch.ones(1, 4)
    moved = functional_call(policy, {"context": torch.ones(2)}, (obs,))[0]
    assert (moved - policy(obs)[0]).abs().max() > 1e-3


def test_normalizer_gathers_the_statistics_of_everything_it_saw():
    rng = np.random.default_rng(0)
    batches = [rng.normal(5, 3, size=(n, 4)) for n in (10, 200, 33)]
    normalizer = ObservationNormalizer(4)
    for batch in map(torch.from_numpy, batches):
        normalizer.update(torch.tensor(float(len(batch))), batch.sum(0), batch.square().sum(0))
    everything = np.concatenate(batches)
    mean, std = normalizer.scale()
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-10)
    np.testing.assert_allclose(std, everything.std(0), rtol=1e-10)
    whitened = normalizer(torch.from_numpy(everything))
    expected = np.clip((everything - everything.mean(0)) / everything.std(0), -5, 5)
    np.testing.assert_allclose(whitened, expected, rtol=1e-5, atol=1e-6)


def test_normalizer_passes_observations_through_before_it_saw_any_or_when_switched_off():
    obs = torch.tensor([[1.0, -2.0]])
    assert torch.equal(ObservationNormalizer(2)(obs), obs)
    off = ObservationNormalizer(2, enabled=False)
    off.update(torch.tensor(2.0), torch.ones(2), torch.ones(2))
    assert torch.equal(off(100 * obs), 100 * obs)
