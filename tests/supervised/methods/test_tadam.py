"""TADAM: metric scaling, conditioning on the task, auxiliary co-training."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metarl import distributed
from metarl.supervised.class_store import ClassStore
from metarl.supervised.classification import Labelled
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.tadam import Conditioner, Residual, classifies, nearness
from metarl.supervised.normalisation import estimate_running
from tests.supervised import front


def small(**changes):
    config = preset("tadam", "strokes", 5, 1)
    training = replace(config.training, tasks=2, query=2)
    return replace(config, backbone=replace(config.backbone, channels=4), training=training, **changes)


def built(config, *, moved=False):
    """The method and its params; `moved`: conditioning does something."""
    torch.manual_seed(0)
    method = build("tadam", config, (1, 28, 28), 120, 3, 2)
    if moved:
        for each in method.module.conditioner.factors:
            nn.init.normal_(each, std=0.5)
    return method, dict(method.module.named_parameters())


def episode(way=3, shot=2, query=4, seed=0):
    sampler = EpisodeSampler(front.load_once("strokes", "train"), way, shot, query)
    return Episode(*(each[0] for each in sampler.draw(1, torch.Generator().manual_seed(seed))))


def test_nearness_by_hand():
    query, means = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0], [-3.0, 0.0]])
    torch.testing.assert_close(nearness(query, means, "euclidean"), torch.tensor([[-2.0, -4.0]]))
    torch.testing.assert_close(nearness(query, means, "squared"), torch.tensor([[-4.0, -16.0]]))
    torch.testing.assert_close(nearness(query, means, "cosine"), torch.tensor([[5**-0.5, -1.0]]))


def test_a_query_that_is_a_class_mean_has_a_finite_gradient():
    query = torch.ones(1, 3, requires_grad=True)
    nearness(query, torch.ones(1, 3), "euclidean").sum().backward()
    assert query.grad.isfinite().all()


def test_a_residual_network_by_hand():
    net = Residual(2, 1)
    with torch.no_grad():
        for layer, weight, bias in zip(
            (net.first, net.second, net.third),
            ([[1.0, 1.0]], [[2.0]], [[-1.0]]),
            (1.0, -1.0, 0.5),
            strict=True,
        ):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(bias)
    # relu(1 + 2 + 1) = 4; 4 + relu(8 - 1) = 11; 11 - 11 + 0.5
    assert net(torch.tensor([1.0, 2.0])).tolist() == [0.5]
    # relu(-2 + 0 + 1) = 0; 0 + relu(-1) = 0; 0 + 0.5
    assert net(torch.tensor([-2.0, 0.0])).tolist() == [0.5]


def test_conditioning_starts_as_nothing():
    films = Conditioner(6, (4, 8))(torch.randn(6))
    assert [each[0].tolist() for each in films] == [[1.0] * 4, [1.0] * 8]
    assert [each[1].tolist() for each in films] == [[0.0] * 4, [0.0] * 8]


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_scores_are_those_of_the_conditioned_network(distance):
    method, params = built(small(distance=distance, scale=5.0), moved=True)
    params["log_factor"].data.fill_(math.log(3.0))
    given = episode()
    loss, scores = method.task(params, given, "joint")
    net, conditioner = method.module.net, method.module.conditioner
    embedding = net(given.support).mean(0)  # of class means of equal shots: that of all images
    film = [
        (1 + factor[0] * scale(embedding), factor[1] * shift(embedding))
        for scale, shift, factor in zip(
            conditioner.scales, conditioner.shifts, conditioner.factors, strict=True
        )
    ]
    features = net(torch.cat([given.support, given.query]), film=film)
    means = features[:6].view(3, 2, -1).mean(1)
    expected = 15 * nearness(features[6:], means, distance)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, F.cross_entropy(expected, given.query_labels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("conditioning", [True, False])
def test_features_depend_on_other_classes_if_conditioned(conditioning):
    given, other = episode(), episode(seed=1)
    changed = given._replace(support=torch.cat([given.support[:4], other.support[4:]]))
    method, params = built(small(conditioning=conditioning), moved=conditioning)
    # By stored averages, so that nothing but conditioning connects images.
    with torch.no_grad():
        estimate_running(method.module, lambda one: method.task(params, one, "joint"), [given, other])
        kept, moved = (method.task(params, each, "running")[1] for each in (given, changed))
    assert torch.allclose(kept[:, :2], moved[:, :2], atol=1e-5) != conditioning


def test_each_pass_has_averages_of_its_own():
    method, params = built(small(), moved=True)
    given = episode()
    with torch.no_grad():
        estimate_running(method.module, lambda one: method.task(params, one, "joint"), [given])
        support = method.module.net.blocks[0].conv(given.support)
        both = method.module.net.blocks[0].conv(torch.cat([given.support, given.query]))
        torch.testing.assert_close(method.module.first_norms[0].running_mean, support.mean((0, 2, 3)))
        torch.testing.assert_close(method.module.net.blocks[0].norm.running_mean, both.mean((0, 2, 3)))
        # By averages of this very episode the result is the one of joint statistics.
        by_batch, by_averages = (method.task(params, given, mode)[1] for mode in ("joint", "running"))
    torch.testing.assert_close(by_averages, by_batch, rtol=1e-3, atol=1e-3)


def test_everything_gets_a_gradient_from_an_episode_but_the_head():
    method, params = built(small(), moved=True)
    method.task(params, episode(), "joint")[0].backward()
    without = {name for name, each in params.items() if each.grad is None or not each.grad.any()}
    assert without == {"head.weight", "head.bias"}


def test_classes_are_classified_less_and_less_often():
    updates = 4000
    chosen = np.array([classifies(number / updates) for number in range(updates)])
    parts = chosen.reshape(20, -1).mean(1)
    assert parts[0] == 1
    np.testing.assert_allclose(parts, 0.9 ** np.arange(20), atol=0.12)
    assert chosen.mean() == pytest.approx(np.mean(0.9 ** np.arange(20)), abs=0.02)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_what_is_drawn_follows_from_the_share_done(auxiliary):
    store = front.load_once("strokes", "train")
    stage = built(small(auxiliary=auxiliary, batch=6))[0].stages[0]
    assert stage.share == 1.0
    shares = [number / 60 for number in range(60)]
    drawn = [
        stage.draw(store, torch.Generator().manual_seed(number), share) for number, share in enumerate(shares)
    ]
    kinds = [isinstance(each, Labelled) for each in drawn]
    assert kinds == [auxiliary and classifies(share) for share in shares]
    assert 0 < sum(kinds) < 60 or not auxiliary
    episodes = next(each for each in drawn if isinstance(each, Episode))
    assert episodes.support.shape == (2, 6, 1, 28, 28)  # two tasks of three ways and two shots
    assert episodes.query.shape == (2, 6, 1, 28, 28)


def test_ranks_draw_the_same_kind_and_share_the_tasks(monkeypatch):
    store = front.load_once("strokes", "train")
    stage = built(small(batch=6))[0].stages[0]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    sizes = set()
    for number in range(40):
        both = [stage.draw(store, torch.Generator().manual_seed(seed), number / 40) for seed in (7, 8)]
        assert type(both[0]) is type(both[1])
        sizes |= {(type(each).__name__, len(each[0])) for each in both}
    assert sizes == {("Labelled", 3), ("Episode", 1)}


@pytest.mark.parametrize(("penalty", "expected"), [(0.01, 0.01 - 5e-4), (1e-4, 0.0)])
def test_the_penalty_and_weight_decay_together_are_what_is_asked_for(penalty, expected):
    episodes = EpisodeSampler(front.load_once("strokes", "train"), 3, 2, 2).draw(
        2, torch.Generator().manual_seed(0)
    )
    method, params = built(small(penalty=penalty), moved=True)
    free, _ = built(small(penalty=0.0), moved=True)
    loss, metrics = method.stages[0].loss(params, episodes)
    without, _ = free.stages[0].loss(params, episodes)
    squares = sum(each.detach().square().sum() for each in method.module.conditioner.factors)
    assert float((loss - without).detach()) == pytest.approx(expected / 2 * float(squares), abs=2e-6)
    losses, scores = zip(
        *(method.task(params, Episode(*(each[i] for each in episodes)), "joint") for i in range(2)),
        strict=True,
    )
    torch.testing.assert_close(without, (losses[0] + losses[1]) / 2)
    right = torch.stack(scores).argmax(-1) == episodes.query_labels
    assert float(metrics["accuracy"]) == pytest.approx(right.float().mean().item())


def test_an_update_of_either_kind_trains():
    store = front.load_once("strokes", "train")
    method, params = built(small(batch=6))
    for share, name in ((0.0, "head.weight"), (0.999, "conditioner.factors.0")):
        assert classifies(share) == (share == 0.0)
        batch = method.stages[0].draw(store, torch.Generator().manual_seed(0), share)
        loss, _ = method.stages[0].loss(params, batch)
        assert torch.autograd.grad(loss, params[name])[0].any()


def test_the_papers_network_is_conditioned_at_every_convolution():
    images = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    store = ClassStore(images, torch.tensor([0, 4, 8]), ["a", "b"])
    torch.manual_seed(0)
    method = build("tadam", replace(preset("tadam", "mini-imagenet", 2, 1), batch=4), store.image, 2, 2, 1)
    params = dict(method.module.named_parameters())
    method.stages[0].loss(params, method.stages[0].draw(store, torch.Generator(), 0.999))[0].backward()
    factors = [params[f"conditioner.factors.{place}"].grad for place in range(12)]
    assert all(each.any(1).all() for each in factors)
    assert [len(each[0]) for each in factors] == [64] * 3 + [128] * 3 + [256] * 3 + [512] * 3


def test_the_papers_numbers_of_tasks_and_queries():
    found = [preset("tadam", "mini-imagenet", 5, shot).training for shot in (1, 5, 10)]
    assert [(each.tasks, each.query) for each in found] == [(5, 3), (2, 7), (1, 13)]
    config = preset("tadam", "mini-imagenet", 5, 1)
    assert (config.backbone.name, config.backbone.activation) == ("resnet12", "silu")
    assert preset("tadam", "omniglot", 5, 1).backbone.name == "conv4"


@pytest.mark.parametrize(
    "wrong", [{"distance": "manhattan"}, {"scale": 0.0}, {"penalty": -1.0}, {"batch": 0}, {"augment": "x"}]
)
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
