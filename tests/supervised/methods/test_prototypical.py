"""Prototypical networks: what they compute, by hand."""

from dataclasses import replace

import pytest
import torch

from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.prototypical import closeness

IMAGE = (1, 16, 16)


def small(**changes):
    config = preset("prototypical", "strokes", 5, 1)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def episode(way, shot, query, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.arange(way).repeat_interleave(number) for number in (shot, query)]
    pictures = [torch.randn(len(each), *IMAGE, generator=generator) for each in labels]
    return Episode(pictures[0], labels[0], pictures[1], labels[1], torch.arange(way))


def test_closeness_by_hand():
    query, means = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0], [-3.0, 0.0]])
    assert closeness(query, means, "squared").tolist() == [[-4.0, -16.0]]
    torch.testing.assert_close(closeness(query, means, "cosine"), torch.tensor([[5**-0.5, -1.0]]))


@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_scores_are_closeness_to_the_mean_features_of_the_support(distance):
    method = build("prototypical", small(distance=distance, scale=3.0), IMAGE, 9, 3, 2)
    params, given = dict(method.module.named_parameters()), episode(3, 2, 4)
    loss, scores = method.task(params, given, "joint")
    features = method.module.net(torch.cat([given.support, given.query]))
    means = features[:6].view(3, 2, -1).mean(1)
    expected = 3 * closeness(features[6:], means, distance)
    torch.testing.assert_close(scores, expected)
    rows = torch.arange(12)
    torch.testing.assert_close(loss, -expected.softmax(1)[rows, given.query_labels].log().mean())


def test_the_papers_train_with_more_ways():
    assert preset("prototypical", "omniglot", 20, 5).training.way == 60
    assert preset("prototypical", "mini-imagenet", 5, 1).training.way == 30
    assert preset("prototypical", "mini-imagenet", 5, 5).training.way == 20


@pytest.mark.parametrize("wrong", [{"distance": "euclid"}, {"scale": 0.0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
