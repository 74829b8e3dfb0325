"""Baselines against least squares by numpy, and against what they must be able to say."""

import numpy as np
import torch

from metarl.agents.baselines import ValueNetwork, fit_linear_values


def test_linear_values_agree_with_ridge_regression_by_hand():
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(2, 6, 30, 3)) * 4
    returns = rng.normal(size=(2, 6, 30))
    got = fit_linear_values(torch.from_numpy(obs), torch.from_numpy(returns), torch.ones(2, 6, 30))
    for task in range(2):
        clipped = obs[task].clip(-10, 10).reshape(-1, 3)
        t = np.tile(np.arange(30) / 100, 6)[:, None]
        features = np.concatenate([clipped, clipped**2, t, t**2, t**3, np.ones_like(t)], axis=1)
        # Ridge regression as ordinary least squares on rows that pull every weight to zero.
        rows = np.concatenate([features, np.sqrt(1e-5) * np.eye(features.shape[1])])
        targets = np.concatenate([returns[task].ravel(), np.zeros(features.shape[1])])
        weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
        np.testing.assert_allclose(got[task].numpy().ravel(), features @ weights, atol=1e-8)


def test_linear_values_leave_out_what_is_masked():
    rng = np.random.default_rng(1)
    obs = torch.from_numpy(rng.normal(size=(1, 4, 20, 2)))
    returns = torch.from_numpy(rng.normal(size=(1, 4, 20)))
    mask = torch.ones(1, 4, 20)
    mask[..., 15:] = 0
    spoiled = returns.clone()
    spoiled[..., 15:] = 1e6
    fitted = fit_linear_values(obs, returns, mask)[..., :15]
    np.testing.assert_allclose(fit_linear_values(obs, spoiled, mask)[..., :15], fitted)


def test_linear_values_survive_features_that_say_nothing():
    values = fit_linear_values(torch.zeros(1, 3, 5, 2), torch.ones(1, 3, 5), torch.ones(1, 3, 5))
    np.testing.assert_allclose(values, 1.0, atol=1e-3)


def test_value_network_learns_that_less_is_left_later():
    torch.manual_seed(0)
    H, discount = 20, 0.9
    network = ValueNetwork(1, (16,), H, discount)
    obs = torch.zeros(8, H, 1)
    returns = torch.tensor([(1 - discount ** (H - t)) / (1 - discount) for t in range(H)]).expand(8, H)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    first = network.loss(network(obs), returns, torch.ones(8, H)).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss = network.loss(network(obs), returns, torch.ones(8, H))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * first
    assert network(obs)[0, 0] > network(obs)[0, -1]
