"""Siamese networks: what they compute, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from metarl.supervised import datasets
from metarl.supervised.augmentation import affine
from metarl.supervised.backbones import Koch
from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.siamese import class_scores, pair_loss
from metarl.supervised.pairs import PairSampler

IMAGE = (1, 28, 28)


def small(**changes):
    config = preset("siamese", "strokes", 3, 2)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def made(**changes):
    torch.manual_seed(0)
    method = build("siamese", small(**changes), IMAGE, 9, 3, 2)
    with torch.no_grad():  # anything but its start
        method.module.weight.normal_()
        method.module.bias.fill_(0.3)
    return method, dict(method.module.named_parameters())


def episode():
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(3).repeat_interleave(number) for number in (2, 4)]
    pictures = [torch.randn(len(each), *IMAGE, generator=generator) for each in labels]
    return Episode(pictures[0], labels[0], pictures[1], labels[1], torch.arange(3))


def test_scores_are_the_logs_of_mean_probabilities_of_being_the_same():
    method, params = made()
    given = episode()
    loss, scores = method.task(params, given, "joint")
    features = method.module.net(torch.cat([given.support, given.query]))
    expected = torch.zeros(12, 3)
    terms = {True: [], False: []}
    for q in range(12):
        for n in range(6):
            distance = (features[6 + q] - features[n]).abs()
            p = torch.sigmoid((distance * method.module.weight).sum() + 0.3).item()
            expected[q, n // 2] += p / 2
            same = q // 4 == n // 2
            terms[same].append(-math.log(p if same else 1 - p))
    torch.testing.assert_close(scores.exp(), expected)
    by_hand = sum(sum(each) / len(each) for each in terms.values()) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_both_kinds_of_pairs_weigh_the_same():
    raw, same = torch.tensor([0.0, 0.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    wanted = (math.log(2) + math.log1p(math.exp(-2))) / 2
    assert pair_loss(raw, same).item() == pytest.approx(wanted)
    assert pair_loss(raw[:3], same[:3]).item() == pytest.approx(math.log(2) / 2)


def test_class_scores_with_unequal_shots_and_far_from_zero():
    labels = torch.tensor([0, 1, 1])
    raw = torch.tensor([[0.0, 2.0, -2.0], [-300.0, -500.0, -400.0]], dtype=torch.float64)
    found = class_scores(raw, labels, 3)
    sure = raw.sigmoid()
    expected = [sure[0, 0].log(), ((sure[0, 1] + sure[0, 2]) / 2).log()]
    torch.testing.assert_close(found[0, :2], torch.stack(expected))
    torch.testing.assert_close(found[1, :2], torch.tensor([-300.0, -400 - math.log(2)], dtype=torch.float64))
    assert found.softmax(-1)[:, 2].tolist() == [0, 0]


@pytest.mark.parametrize("changed", [False, True])
def test_pairs_of_all_classes_are_a_stage_that_fills_the_training(changed):
    method, params = made(pairs=16, affine=changed)
    (stage,) = method.stages
    assert stage.share == 1
    store = datasets.load("strokes", "train")
    pairs = stage.draw(store, torch.Generator().manual_seed(5), 0.5)
    generator = torch.Generator().manual_seed(5)
    plain = PairSampler(store).draw(16, generator)
    torch.testing.assert_close(pairs.same, plain.same)
    expected = [affine(each, generator) if changed else each for each in plain[:2]]
    torch.testing.assert_close(pairs.first, expected[0])
    torch.testing.assert_close(pairs.second, expected[1])
    loss, metrics = stage.loss(params, pairs)
    features = method.module.net(torch.cat([pairs.first, pairs.second]))
    raw = (features[:16] - features[16:]).abs() @ method.module.weight + 0.3
    torch.testing.assert_close(loss, pair_loss(raw, pairs.same))
    assert metrics["pair_accuracy"] == ((raw > 0) == (pairs.same == 1)).float().mean()


def test_the_papers_network_is_for_omniglot_by_alphabets():
    config = preset("siamese", "omniglot-lake", 20, 1)
    with torch.device("meta"):
        module = build("siamese", config, (1, 105, 105), 9, 20, 1).module
    assert isinstance(module.net, Koch)
    assert (config.pairs, config.affine) == (128, True)
    assert sum(each.numel() for each in module.parameters()) == 38_951_745
    with pytest.raises(ValueError, match="image size to 105"):
        build("siamese", config, IMAGE, 9, 20, 1)


@pytest.mark.parametrize("bias", [4.0, -1.5])
def test_at_first_equal_pictures_are_the_same_and_distance_counts_against_it(bias):
    config = small(bias=bias)
    method = build("siamese", config, IMAGE, 9, 3, 2)
    given = episode()
    given = given._replace(query=given.support[[0, 2, 4]], query_labels=torch.arange(3))
    given = given._replace(support=given.support[[0, 2, 4]], support_labels=torch.arange(3))
    _, scores = method.task(dict(method.module.named_parameters()), given, "joint")
    equal = torch.tensor(bias).sigmoid().log()
    torch.testing.assert_close(scores.diagonal(), equal.expand(3))
    assert (scores[~torch.eye(3, dtype=torch.bool)] < equal).all()


def test_drawn_pairs_are_no_episodes_to_augment():
    with pytest.raises(ValueError, match=r"training\.augment='crop' with pairs=8, expected 'none'"):
        small(pairs=8, training=EpisodicTraining(augment="crop"))


@pytest.mark.parametrize("wrong", [{"pairs": 1}, {"affine": True}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* expected"):
        small(**wrong)
