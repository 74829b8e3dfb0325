"""PAC-Bayes bounds: by hand, against torch's own divergences, and that they hold."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from metarl.supervised.pac_bayes import (
    BOUNDS,
    certificate,
    gaussian_kl,
    hyper_kl,
    inverted_kl,
    meta_term,
    task_term,
)

D = torch.float64


def scalar(value):
    return torch.tensor(value, dtype=D)


def test_the_divergence_of_gaussians_is_torchs():
    torch.manual_seed(0)
    a, b, c, d = ({"w": torch.randn(3, 2), "b": torch.randn(2)} for _ in range(4))
    expected = sum(
        kl_divergence(
            Normal(a[n].double(), (b[n].double() / 2).exp()), Normal(c[n].double(), (d[n].double() / 2).exp())
        ).sum()
        for n in a
    )
    torch.testing.assert_close(gaussian_kl(a, b, c, d), expected, rtol=1e-6, atol=1e-6)
    assert gaussian_kl(a, b, a, b) == 0


def test_the_hyper_divergence_is_torchs_in_all_dimensions_and_the_authors_in_one():
    theta = [torch.tensor([3.0, -4.0]), torch.tensor([[1.0]])]
    expected = sum(
        kl_divergence(Normal(x.double(), scalar(1e-3)), Normal(scalar(0.0), 100.0)).sum() for x in theta
    )
    torch.testing.assert_close(hyper_kl(theta), expected)
    one = (26 + 1e-6) / (2 * 100**2) + math.log(100 / 1e-3) - 0.5
    assert hyper_kl(theta, whole=False).item() == pytest.approx(one)


def test_terms_by_hand():
    # n = 4 tasks, m = 100 samples, delta = 0.1, D = 5 nats, loss 0.2
    of = lambda bound: task_term(bound, scalar(0.2), scalar(5.0), 100, 4, 0.1).item()  # noqa: E731
    assert of("mcallester") == pytest.approx(math.sqrt((5 + math.log(8000)) / 198))
    e = (5 + math.log(800)) / 100
    assert of("seeger") == pytest.approx(2 * e + math.sqrt(0.4 * e))
    assert of("catoni") == pytest.approx((5 + math.log(40)) / 50 + 0.2)
    assert of("pentina-lampert") == pytest.approx(0.5)
    assert of("variational") == pytest.approx(0.05)
    meta = lambda bound: meta_term(bound, scalar(6.0), 100, 4, 0.1).item()  # noqa: E731
    assert (
        meta("seeger")
        == meta("mcallester")
        == meta("catoni")
        == pytest.approx(math.sqrt((6 + math.log(80)) / 6))
    )
    assert meta("pentina-lampert") == pytest.approx(3.0)
    assert meta("variational") == pytest.approx(0.06)


def test_the_certificate_lies_between_the_loss_and_its_relaxation():
    for loss in (0.0, 0.05, 0.3, 0.9):
        tight = certificate(loss, 5.0, 1000, 0.1, draws=10**9)
        relaxed = loss + task_term("seeger", scalar(loss), scalar(5.0), 1000, 1, 0.1).item()
        assert loss < tight <= min(1.0, relaxed + 1e-4)
        assert tight < certificate(loss, 5.0, 1000, 0.1, draws=100)


def test_finitely_many_draws_may_deceive_on_either_side():
    # Without errors, and with samples beyond number: kl(0 | p) = ln(2 / 0.01) / 100.
    found = certificate(0.0, 0.0, 10**12, 0.1, draws=100)
    assert found == pytest.approx(1 - math.exp(-math.log(200) / 100), rel=1e-4)
    found = certificate(0.0, 0.0, 10**12, 0.1, draws=10, draws_delta=0.5)
    assert found == pytest.approx(1 - math.exp(-math.log(4) / 10), rel=1e-4)


def test_the_inverted_divergence_by_hand():
    assert inverted_kl(0.0, 0.3) == pytest.approx(1 - math.exp(-0.3))  # kl(0 | p) = -ln(1 - p)
    assert inverted_kl(0.25, 0.25 * math.log(0.5) + 0.75 * math.log(1.5)) == pytest.approx(0.5)
    assert inverted_kl(1.0, 0.3) == 1.0
    assert inverted_kl(0.4, 0.0) == pytest.approx(0.4)


@pytest.mark.parametrize("bound", ["mcallester", "seeger"])
def test_a_bound_holds_on_coins_and_falls_with_samples(bound):
    """Posteriors over two coins, against an even prior, chosen after the throws."""
    generator = torch.Generator().manual_seed(0)
    true = torch.tensor([0.3, 0.35], dtype=D)
    mean_bound = {}
    for samples in (30, 300):
        throws = torch.rand(500, samples, 2, generator=generator, dtype=D) < true
        losses = throws.to(D).mean(1)
        posterior = torch.softmax(-samples * losses / 5, 1)
        kl = (posterior * (2 * posterior).clamp_min(1e-300).log()).sum(1)
        mean = (posterior * losses).sum(1)
        found = torch.stack(
            [m + task_term(bound, m, k, samples, 1, 0.1) for m, k in zip(mean, kl, strict=True)]
        )
        assert (found < (posterior * true).sum(1)).to(D).mean() <= 0.1
        mean_bound[samples] = found.mean().item()
    assert 0.3 < mean_bound[300] < mean_bound[30]


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_term_has_a_finite_gradient_at_no_loss(bound):
    loss, complexity = scalar(0.0).requires_grad_(), scalar(2.0).requires_grad_()
    whole = task_term(bound, loss, complexity, 10, 3, 0.1) + meta_term(bound, complexity, 10, 3, 0.1)
    whole.backward()
    assert complexity.grad.isfinite()
    assert complexity.grad > 0
    assert loss.grad is None or loss.grad.isfinite()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: task_term("segeer", scalar(0.0), scalar(0.0), 10, 1, 0.1), "did you mean 'seeger'"),
        (lambda: task_term("seeger", scalar(0.0), scalar(0.0), 1, 1, 0.1), "2 samples"),
        (lambda: task_term("seeger", scalar(0.0), scalar(0.0), 10, 1, 1.0), "delta"),
        (lambda: meta_term("seeger", scalar(0.0), 100, 1, 0.1), "2 tasks"),
        (lambda: certificate(1.5, 1.0, 10, 0.1, draws=5), r"\[0, 1\]"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
