"""Distributions of weights, and the bounds made of them, by hand."""

import math

import pytest
import torch

from metarl.supervised.gaussian_weights import (
    Gaussians,
    posterior_objective,
    prior_objective,
    standard_normal,
    starting,
)

D = torch.float64


def of(mean, log_var):
    return Gaussians({"w": torch.tensor([mean], dtype=D)}, {"w": torch.tensor([log_var], dtype=D)})


def test_weights_are_drawn_around_their_means():
    gaussians = Gaussians({"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([0.0, math.log(9.0)])})
    assert gaussians.draw(None)["a"].tolist() == [1.0, 2.0]
    torch.testing.assert_close(
        gaussians.draw({"a": torch.tensor([0.5, -1.0])})["a"], torch.tensor([1.5, -1.0])
    )
    noise = standard_normal(gaussians.mean, torch.Generator().manual_seed(0))
    assert noise["a"].shape == (2,)


def test_names_survive_being_put_into_one_dict():
    gaussians = starting(
        {"net.a": torch.randn(3), "head": torch.randn(2, 2)}, torch.Generator().manual_seed(0)
    )
    named = gaussians.named("prior.")
    assert list(named) == ["prior.mean.net.a", "prior.mean.head", "prior.log_var.net.a", "prior.log_var.head"]
    again = Gaussians.under("prior.", {**named, "other": torch.zeros(1)})
    assert again == gaussians
    assert all(abs(each.mean() + 10) < 0.3 for each in again.log_var.values())


def test_the_bound_of_two_tasks_by_hand():
    """One weight, variances 1: KL = (difference of means)^2 / 2."""
    prior, posteriors = of(1.0, 0.0), [of(2.0, 0.0), of(-1.0, 0.0)]
    losses = [torch.tensor(0.1, dtype=D), torch.tensor(0.3, dtype=D)]
    # theta = (1, 0)
    hyper = (1 + 1e-6) / 2e4 + math.log(1e5) - 0.5

    def seeger(loss, kl):
        e = (kl + hyper + math.log(2 * 2 * math.sqrt(50) / 0.1)) / 50
        return loss + 2 * e + math.sqrt(2 * e * loss)

    expected = (seeger(0.1, 0.5) + seeger(0.3, 2.0)) / 2 + math.sqrt((hyper + math.log(40)) / 2)
    found = prior_objective("seeger", losses, posteriors, prior, 50, 2)
    assert found.item() == pytest.approx(expected)
    # the shifted mean counts in the tasks' terms only
    shifted = prior_objective("seeger", losses, posteriors, prior, 50, 2, shift={"w": torch.ones(1, dtype=D)})
    expected = (seeger(0.1, 0.0) + seeger(0.3, 4.5)) / 2 + math.sqrt((hyper + math.log(40)) / 2)
    assert shifted.item() == pytest.approx(expected)
    # as a certificate, constants count for both numbers of theta
    assert prior_objective("seeger", losses, posteriors, prior, 50, 2, whole=True) > found
    pentina = prior_objective("pentina-lampert", losses, posteriors, prior, 50, 2)
    mean = 0.2 + (1.25 + hyper / 2) / math.sqrt(50) + hyper / math.sqrt(2)
    assert pentina.item() == pytest.approx(mean)
    # the evidence lower bound of all tasks' samples, by the sample
    variational = prior_objective("variational", losses, posteriors, prior, 50, 2)
    assert variational.item() == pytest.approx(0.2 + (1.25 + hyper) / 50)


def test_the_bound_of_one_task_by_hand():
    loss = torch.tensor(0.1, dtype=D)
    found = posterior_objective("mcallester", loss, of(2.0, 0.0), of(1.0, 0.0), 50)
    assert found.item() == pytest.approx(0.1 + math.sqrt((0.5 + math.log(1000)) / 98))


def test_a_prior_of_no_variance_is_kept_from_infinity():
    found = posterior_objective("mcallester", torch.tensor(0.1, dtype=D), of(1.0, 0.0), of(1.0, -1e9), 50)
    assert found.isfinite()
