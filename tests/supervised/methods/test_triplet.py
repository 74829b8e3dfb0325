"""Triplet networks: what they compute, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.triplet import distances, semi_hard, triplet_loss

IMAGE = (1, 16, 16)
LOSSES = {
    "softmax": lambda near, far: (
        (math.exp(near) / (math.exp(near) + math.exp(far))) ** 2
        + (math.exp(far) / (math.exp(near) + math.exp(far)) - 1) ** 2
    ),
    "margin": lambda near, far: max(0.0, near - far + 0.7),
}


def small(**changes):
    config = preset("triplet", "strokes", 3, 2)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def by_hand(features, labels, config):
    """Loop over anchors, positives and negatives."""
    between = distances(features, features).tolist()
    places, losses = range(len(labels)), []
    for anchor in places:
        negatives = [between[anchor][n] for n in places if labels[n] != labels[anchor]]
        for positive in places:
            if positive == anchor or labels[positive] != labels[anchor] or not negatives:
                continue
            near = between[anchor][positive]
            farther = [far for far in negatives if far > near]
            mined = [min(farther)] if farther else [max(negatives)]
            chosen = negatives if config.mining == "all" else mined
            losses += [LOSSES[config.loss](near, far) for far in chosen]
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mining", ["semi-hard", "all"])
@pytest.mark.parametrize(
    "labels", [[0, 0, 0, 1, 1, 2], [2, 1, 0, 1, 2, 2], [0, 0, 0], [0, 1, 2], [0, 1, 0, 0]]
)
def test_the_loss_by_hand(loss, mining, labels):
    config = small(loss=loss, mining=mining, margin=0.7)
    for seed in range(5):
        features = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed)).double()
        found = triplet_loss(features, torch.tensor(labels), config)
        assert found.item() == pytest.approx(by_hand(features, labels, config))


def test_the_negative_is_the_nearest_beyond_the_positive_or_the_farthest():
    # Images 0 and 1 are of one class; the rows are distances from 0 and 1.
    between = torch.tensor([[0.0, 2.0, 1.0, 5.0, 3.0], [9.0, 0.0, 1.0, 5.0, 3.0]])
    negative = torch.tensor([[False, False, True, True, True]]).expand(2, 5)
    found = semi_hard(between, negative)
    assert found[0, 1] == 3
    assert found[1, 0] == 5


def test_the_gradient_reaches_anchor_positive_and_chosen_negative_only():
    features = torch.tensor([[0.0], [1.0], [1.5], [4.0]], requires_grad=True)
    config = small(loss="margin")
    labels = torch.tensor([0, 0, 1, 2])
    triplet_loss(features, labels, config).backward()
    # 0 -> 1 chooses 1.5; 1 -> 0 chooses 4 (the only one beyond 1), which is farther by more than the margin.
    torch.testing.assert_close(
        features.grad.flatten(), torch.tensor([0.0, 0.5, -0.5, 0.0]), atol=1e-5, rtol=0
    )


def test_equal_images_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    for loss in LOSSES:
        triplet_loss(features, torch.tensor([0, 0, 1, 1]), small(loss=loss)).backward()
        assert features.grad.isfinite().all()


def test_queries_go_to_the_nearest_mean_and_all_images_make_triplets():
    torch.manual_seed(0)
    method = build("triplet", small(), IMAGE, 9, 3, 2)
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(3).repeat_interleave(number) for number in (2, 4)]
    pictures = [torch.randn(len(each), *IMAGE, generator=generator) for each in labels]
    episode = Episode(pictures[0], labels[0], pictures[1], labels[1], torch.arange(3))
    loss, scores = method.task(dict(method.module.named_parameters()), episode, "joint")
    features = method.module.net(torch.cat(pictures))
    means = features[:6].view(3, 2, -1).mean(1)
    expected = -(features[6:].unsqueeze(1) - means).norm(dim=-1)
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)
    assert loss.item() == pytest.approx(by_hand(features, torch.cat(labels).tolist(), small()), rel=1e-3)


@pytest.mark.parametrize("wrong", [{"loss": "hinge"}, {"mining": "hard"}, {"margin": 0.0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
