"""Meta-Baseline: its two parts, and its learned scale."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metarl.supervised.classification import Labelled
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.presets.pretraining import Pretraining
from metarl.supervised.training import FewShotTraining, optimizer_of
from tests.supervised import front


def small(**changes):
    config = preset("meta-baseline", "strokes", 5, 1)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def built(config, way=3, shot=2):
    torch.manual_seed(0)
    method = build("meta-baseline", config, (1, 28, 28), 120, way, shot)
    return method, dict(method.module.named_parameters())


def episode(way=3, shot=2, query=4):
    sampler = EpisodeSampler(front.load_once("strokes", "train"), way, shot, query)
    return Episode(*(each[0] for each in sampler.draw(1, torch.Generator().manual_seed(0))))


def test_scores_are_scaled_cosines_with_class_means():
    method, params = built(small(scale=5.0))
    params["log_factor"].data.fill_(math.log(3.0))
    given = episode()
    loss, scores = method.task(params, given, "joint")
    features = method.module.net(torch.cat([given.support, given.query]))
    means = features[:6].view(3, 2, -1).mean(1)
    expected = 15 * F.cosine_similarity(features[6:].unsqueeze(1), means.unsqueeze(0), dim=-1)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(loss, F.cross_entropy(expected, given.query_labels))


@pytest.mark.parametrize("learn", [True, False])
def test_the_scale_starts_where_it_is_told_to_and_is_learned_if_asked(learn):
    config = small(scale=2.0, learn_scale=learn)
    method, params = built(config)
    loss, scores = method.task(params, episode(), "joint")
    assert scores.abs().max() <= 2.0
    loss.backward()
    assert ("log_factor" in params) == learn
    assert not learn or params["log_factor"].grad.abs() > 0


def trained(tmp_path, updates=20, **changes):
    """Parameters after every update, and what each was trained on."""
    train = front.load_once("strokes", "train")
    config = small()
    first = replace(config.pretraining, batch=8, **changes)
    config = replace(config, pretraining=first, training=replace(config.training, tasks=2, query=2))
    experiment = front.experiment(tmp_path, episodes=2 * updates)
    method = built(config, 5, 1)[0]
    training = FewShotTraining(method, experiment, config.training, train, None)
    optimizer = optimizer_of(method.module, config.training, training.updates, method.stages)
    states, kinds, rates = [], [], []
    for number in range(updates):
        batch = training.collect(np.random.default_rng(number))
        metrics = optimizer.update(lambda data=batch.data: training.loss(data))
        kinds.append(type(batch.data[1]))
        rates.append(metrics["lr"])
        states.append({name: each.detach().clone() for name, each in method.module.named_parameters()})
    return states, kinds, rates


def test_first_all_classes_then_episodes_each_with_step_sizes_of_its_own(tmp_path):
    states, kinds, rates = trained(tmp_path, updates=50)
    assert kinds == [Labelled] * 44 + [Episode] * 6  # 0.88 of 50
    np.testing.assert_allclose(rates, [2e-3] * 40 + [2e-4] * 4 + [1e-4] * 6)
    factors = [float(state["log_factor"]) for state in states]
    assert factors[:44] == [0.0] * 44  # not even weight decay moves it
    assert factors[-1] != 0


def test_without_pre_training_there_are_episodes_only(tmp_path):
    states, kinds, _ = trained(tmp_path, updates=3, share=0.0)
    assert kinds == [Episode] * 3
    assert not any(name.startswith("head.") for name in states[0])


def test_photographs_get_the_papers_settings():
    config = preset("meta-baseline", "mini-imagenet", 5, 5)
    assert (config.backbone.name, config.training.tasks, config.training.query) == ("resnet12", 4, 15)
    assert config.training.way is None
    first, second = config.pretraining, config.training
    assert (first.share, first.optimizer, first.lr, first.decay, first.milestones) == (
        0.88,
        "sgd",
        0.1,
        0.1,
        (0.9,),
    )
    assert (second.optimizer, second.lr, second.momentum, second.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)
    tiered = preset("meta-baseline", "tiered-imagenet", 5, 1).pretraining
    assert (tiered.share, tiered.batch) == (0.96, 512)
    np.testing.assert_allclose(tiered.milestones, (1 / 3, 2 / 3))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"scale=-1.* expected"):
        small(scale=-1.0)
    with pytest.raises(ValueError, match=r"pretraining\.share=1.* expected"):
        Pretraining(share=1.0)
    with pytest.raises(ValueError, match=r"pretraining\.augment='mirror', expected"):
        Pretraining(augment="mirror")
