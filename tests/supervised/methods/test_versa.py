"""VERSA: what it infers, by hand, and how it averages."""

import math
from dataclasses import replace

import pytest
import torch

from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.versa import Amortiser, Gaussian, averaged, linear_scores
from tests.supervised import front

D = torch.float64


def small(**changes):
    config = preset("versa", "strokes", 3, 2)
    training = replace(config.training, tasks=2, query=2)
    return replace(
        config, backbone=replace(config.backbone, channels=4), training=training, features=8, **changes
    )


def made(**changes):
    torch.manual_seed(0)
    method = build("versa", small(**changes), (1, 28, 28), 120, 3, 2)
    method.module.to(D)
    return method, dict(method.module.named_parameters())


def episodes(tasks=1, way=3, shot=2, query=2, seed=0):
    store = front.load_once("strokes", "train")
    many = EpisodeSampler(store, way, shot, query).draw(tasks, torch.Generator().manual_seed(seed))
    return many._replace(support=many.support.to(D), query=many.query.to(D))


def one(**kw):
    return Episode(*(each[0] for each in episodes(**kw)))


def moments(method, given):
    """Mean and variance of every score of an episode with three classes of two support images."""
    features = method.module.project(method.module.net(torch.cat([given.support, given.query])))
    means = features[:6].view(3, 2, -1).mean(1)
    return linear_scores(features[6:], *method.module.amortiser(means))


def test_moments_of_scores_by_hand_and_by_drawing_weights():
    query = torch.tensor([[1.0, -2.0]], dtype=D)
    weight = Gaussian(
        torch.tensor([[3.0, 1.0], [0.0, 1.0]], dtype=D), torch.tensor([[0.5, 0.25], [1.0, 2.0]], dtype=D)
    )
    bias = Gaussian(torch.tensor([[0.5], [1.0]], dtype=D), torch.tensor([[0.1], [0.2]], dtype=D))
    scores = linear_scores(query, weight, bias)
    assert scores.mean.tolist() == [[1.5, -1.0]]  # 3 - 2 + 0.5, -2 + 1
    torch.testing.assert_close(
        scores.variance, torch.tensor([[1.6, 9.2]], dtype=D)
    )  # 0.5 + 1 + 0.1, 1 + 8 + 0.2
    generator = torch.Generator().manual_seed(0)
    w = weight.mean + weight.variance.sqrt() * torch.randn(200_000, 2, 2, generator=generator, dtype=D)
    b = bias.mean + bias.variance.sqrt() * torch.randn(200_000, 2, 1, generator=generator, dtype=D)
    drawn = (w * query).sum(-1) + b[..., 0]
    torch.testing.assert_close(drawn.mean(0), scores.mean[0], rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.var(0), scores.variance[0], rtol=0.02, atol=0)


def test_probabilities_are_averaged_not_scores():
    scores = Gaussian(torch.zeros(1, 2, dtype=D), torch.full((1, 2), 4.0, dtype=D))
    noise = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]], dtype=D)  # one deviation is 2
    first = (1 / (1 + math.exp(-2)) + 0.5) / 2
    torch.testing.assert_close(averaged(scores, noise).exp(), torch.tensor([[first, 1 - first]], dtype=D))


def test_a_class_is_inferred_from_its_own_support_alone():
    method, _ = made()
    means = torch.randn(3, 8, dtype=D)
    other = means.clone()
    other[1:] += 1.0
    for a, b in zip(method.module.amortiser(means), method.module.amortiser(other), strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x[0], y[0], rtol=0, atol=0)
            assert not torch.allclose(x[1:], y[1:])
    assert (Amortiser(8)(torch.randn(3, 8))[0].variance > 0).all()


def test_without_variance_it_is_the_classifier_of_the_means():
    method, params = made()
    params = {
        n: torch.full_like(p, -1e3) if n.startswith("amortiser.log_variance") and n.endswith("2.bias") else p
        for n, p in params.items()
    }
    given = one()
    loss, scores = method.task(params, given, "joint")
    features = method.module.project(method.module.net(torch.cat([given.support, given.query])))
    means = features[:6].view(3, 2, -1).mean(1)
    inferred = method.module.amortiser.mean
    expected = (features[6:] @ inferred["weight"](means).mT + inferred["bias"](means)[:, 0]).log_softmax(-1)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(loss, -expected[torch.arange(6), given.query_labels].mean())


def test_training_draws_noise_anew_and_its_gradient_is_right():
    method, params = made(samples=4)
    store = front.load_once("strokes", "train")
    stage = method.stages[0]
    first, second = (stage.draw(store, torch.Generator().manual_seed(seed), 0.0)[1] for seed in (0, 1))
    assert first.shape == (2, 4, 6, 3)
    assert not torch.equal(first, second)
    batch = (episodes(2), torch.randn(2, 4, 6, 3, dtype=D, generator=torch.Generator().manual_seed(2)))
    loss, metrics = stage.loss(params, batch)
    right = []
    for place, noise in enumerate(batch[1]):
        given = Episode(*(each[place] for each in batch[0]))
        found = averaged(moments(method, given), noise)
        right.append(found.argmax(1) == given.query_labels)
    assert float(metrics["accuracy"]) == pytest.approx(torch.cat(right).float().mean().item())
    grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    assert all(each is not None for each in grads)
    torch.manual_seed(1)
    wanted = [n for n in params if n.startswith(("amortiser", "project"))]  # smooth: no pooling behind them
    direction = {n: torch.randn_like(params[n]) for n in wanted}
    along = [
        float(stage.loss({**params, **{n: params[n] + h * direction[n] for n in wanted}}, batch)[0].detach())
        for h in (1e-5, -1e-5)
    ]
    slope = sum((g * direction[n]).sum() for n, g in zip(params, grads, strict=True) if n in wanted)
    assert (along[0] - along[1]) / 2e-5 == pytest.approx(float(slope), rel=1e-6)


def test_testing_has_fixed_draws_of_every_class_and_many_of_them_agree_with_others():
    given, generator = one(), torch.Generator().manual_seed(5)
    noise = torch.randn(20_000, 1, 3, dtype=D, generator=generator)
    distances = []
    for samples in (10, 2000):
        method, params = made(samples=samples)
        with torch.no_grad():
            found = method.task(params, given, "joint")[1].exp()
            scores = moments(method, given)
            own = torch.stack([method.module.noise[number] for number in given.classes.tolist()], -1)
            torch.testing.assert_close(found, averaged(scores, own.view(samples, 1, 3)).exp())
            distances.append(float((found - averaged(scores, noise).exp()).abs().max()))
    assert distances[1] < 0.02 < distances[0]


def test_the_papers_numbers_of_tasks():
    found = [
        preset("versa", data, 5, shot).training for data, shot in (("omniglot", 1), ("cub", 1), ("cub", 5))
    ]
    assert [(each.tasks, each.lr) for each in found] == [(16, 1e-4), (8, 2.5e-4), (4, 1e-4)]


@pytest.mark.parametrize("wrong", [{"samples": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="samples=0, expected"):
        small(**wrong)
