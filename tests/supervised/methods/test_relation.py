"""Relation networks: what they compute, by hand."""

from dataclasses import replace

import pytest
import torch

from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.config import Backbone
from metarl.supervised.methods.relation import Comparison, class_sums

IMAGE = (1, 28, 28)


def small(**changes):
    config = preset("relation", "strokes", 3, 2)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def episode(way=3, shot=2, query=4, image=IMAGE):
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(way).repeat_interleave(number) for number in (shot, query)]
    pictures = [torch.randn(len(each), *image, generator=generator) for each in labels]
    return Episode(pictures[0], labels[0], pictures[1], labels[1], torch.arange(way))


def made(image=IMAGE, **changes):
    torch.manual_seed(0)
    method = build("relation", small(**changes), image, 9, 3, 2)
    return method, dict(method.module.named_parameters())


def side_by_side(comparison, classes, images):
    """Relations by the words of the paper: every class's maps above every image's, then the whole network."""
    pairs = [torch.cat([each, image]) for image in images for each in classes]
    x = comparison.second(comparison.first(torch.stack(pairs))).flatten(1)
    return comparison.last(comparison.hidden(x).relu()).view(len(images), len(classes))


@pytest.mark.parametrize("maps", [(4, 5, 5), (4, 12, 13)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_relation_is_that_of_maps_side_by_side(maps, norm):
    comparison = Comparison(maps, norm, filters=6, units=3)
    classes, images = torch.randn(3, *maps), torch.randn(5, *maps)
    torch.testing.assert_close(comparison(classes, images), side_by_side(comparison, classes, images))


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_scores_and_squared_errors_by_hand(pool):
    method, params = made(pool=pool)
    given = episode()
    loss, scores = method.task(params, given, "joint")
    maps = method.module.net(torch.cat([given.support, given.query]))
    whole = maps[:6].unflatten(0, (3, 2))
    whole = whole.sum(1) if pool == "sum" else whole.mean(1)
    found = side_by_side(method.module.comparison, whole, maps[6:]).sigmoid()
    torch.testing.assert_close(scores.softmax(-1), found / found.sum(1, keepdim=True))
    wanted = torch.eye(3).repeat_interleave(4, 0)
    torch.testing.assert_close(loss, ((found - wanted) ** 2).sum() / 36)


def test_cross_entropy_by_hand():
    method, params = made(loss="cross-entropy")
    loss, scores = method.task(params, episode(), "joint")
    chosen = scores.softmax(-1)[torch.arange(12), episode().query_labels]
    torch.testing.assert_close(loss, -chosen.log().mean())


def test_sums_of_classes_of_unequal_size():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert class_sums(features, torch.tensor([1, 0, 1]), 3).tolist() == [[3, 4], [6, 8], [0, 0]]


def test_the_support_sets_the_moments_of_the_comparison_too():
    method, params = made()
    given = episode()
    scores = method.task(params, given, "support")[1]
    louder = torch.cat([given.query[:1], 50 * given.query[1:]])
    changed = method.task(params, given._replace(query=louder), "support")[1]
    torch.testing.assert_close(changed[0], scores[0])
    assert not torch.allclose(changed[1:], scores[1:])


def test_the_papers_networks_have_their_sizes():
    for image, hidden in (((1, 28, 28), 64), ((3, 84, 84), 576)):
        method = build("relation", preset("relation", "mini-imagenet"), image, 9, 5, 1)
        assert method.module.comparison.hidden.in_features == hidden


def test_it_runs_on_maps_of_any_backbone_and_refuses_maps_too_small():
    given = episode(image=(1, 84, 84))
    strided = Backbone("conv4", channels=4, halve="stride")
    config = replace(small(), backbone=strided)
    method = build("relation", config, (1, 84, 84), 9, 3, 2)
    loss, _ = method.task(dict(method.module.named_parameters()), given, "joint")
    assert loss.isfinite()
    with pytest.raises(ValueError, match="at least 4x4, but the backbone gives 2x2"):
        build("relation", config, IMAGE, 9, 3, 2)


@pytest.mark.parametrize("wrong", [{"loss": "hinge"}, {"pool": "max"}, {"filters": 0}, {"units": 0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)


def test_the_papers_queries():
    wanted = {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}
    assert {each: preset("relation", "omniglot", *each).training.query for each in wanted} == wanted
    assert [preset("relation", "mini-imagenet", 5, shot).training.query for shot in (1, 5)] == [15, 10]


def test_it_starts_as_the_authors_code_does():
    torch.manual_seed(0)
    module = build("relation", preset("relation", "omniglot", 5, 1), IMAGE, 10, 5, 1).module
    conv, hidden = module.comparison.second.conv, module.comparison.hidden
    assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.02)
    assert hidden.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (hidden.bias == 1).all()
    assert (module.comparison.last.bias == 1).all()
