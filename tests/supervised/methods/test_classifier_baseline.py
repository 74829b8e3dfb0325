"""Classifier-Baseline, and training on all classes that other methods share with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metarl.supervised.augmentation import AUGMENTATIONS
from metarl.supervised.class_store import ClassStore
from metarl.supervised.classification import draw_labelled
from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.presets.classifier_baseline import OPTIMISERS, Config
from metarl.supervised.training import FewShotTraining, optimizer_of
from tests.supervised import front

SIZES = (3, 1, 6)


def small(**changes):
    config = preset("classifier-baseline", "strokes", 5, 1)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def store(rotations=1):
    """Every pixel of an image but the first says which image it is; the first is brighter, to show turns."""
    images = torch.arange(sum(SIZES), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 16, 16)
    images[:, :, 0, 0] += 100
    starts = torch.tensor([0, *torch.tensor(SIZES).cumsum(0).tolist()])
    return ClassStore(images, starts, ["a", "b", "c"], rotations=rotations)


@pytest.mark.parametrize("rotations", [1, 4])
def test_labels_are_classes_with_turned_ones_counted(rotations):
    given = store(rotations)
    images, labels = draw_labelled(given, 500, generator())
    rows = (255 * images[:, 0, 8, 8]).round().long()
    expected = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2, 2])[rows]
    corners = images[:, 0][:, [0, 15, 15, 0], [0, 0, 15, 15]]  # a quarter counter-clockwise leads to the next
    torch.testing.assert_close(labels, expected + 3 * corners.argmax(1))
    assert set(labels.tolist()) == set(range(given.num_classes))


def test_every_image_is_as_likely_as_any_other():
    images, _ = draw_labelled(store(), 5000, generator())
    counts = torch.bincount((255 * images[:, 0, 8, 8]).round().long(), minlength=10)
    assert (counts - 500).abs().max() < 100


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_a_batch_follows_from_its_generator_and_is_changed_as_asked(augment):
    given = front.load_once("strokes", "train")
    method = build("classifier-baseline", small(augment=augment, batch=8), given.image, 120, 5, 1)
    first, again = (method.stages[0].draw(given, generator(), 0.0) for _ in range(2))
    assert torch.equal(first.images, again.images)
    plain = draw_labelled(given, 8, generator())
    assert torch.equal(first.labels, plain.labels)
    assert torch.equal(first.images, plain.images) == (augment == "none")


def test_the_loss_is_the_cross_entropy_of_the_head_on_the_features():
    given = store()
    method = build("classifier-baseline", small(batch=6, augment="none"), given.image, 3, 2, 1)
    params = dict(method.module.named_parameters())
    batch = method.stages[0].draw(given, generator(), 0.0)
    loss, metrics = method.stages[0].loss(params, batch)
    logits = method.module.head(method.module.net(batch.images))
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.labels))
    right = (logits.argmax(1) == batch.labels).float().mean()
    assert metrics["classification_accuracy"] == right


def test_scores_are_cosines_with_class_means_and_need_no_head():
    given = front.load_once("strokes", "train")
    episode = EpisodeSampler(given, 3, 2, 4).draw(1, generator())
    episode = type(episode)(*(each[0] for each in episode))
    method = build("classifier-baseline", small(scale=5.0), given.image, 120, 3, 2)
    params = {name: each for name, each in method.module.named_parameters() if not name.startswith("head.")}
    loss, scores = method.task(params, episode, "joint")
    features = method.module.net(torch.cat([episode.support, episode.query]))
    means = features[:6].view(3, 2, -1).mean(1)
    expected = 5 * F.cosine_similarity(features[6:].unsqueeze(1), means.unsqueeze(0), dim=-1)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(loss, F.cross_entropy(expected, episode.query_labels))


def test_training_on_all_classes_teaches_new_ones(tmp_path):
    train, validation = (front.load_once("strokes", split) for split in ("train", "validation"))
    torch.manual_seed(0)
    config = small(batch=64, augment="none")
    config = replace(config, backbone=replace(config.backbone, channels=16))
    experiment = front.experiment(tmp_path, episodes=60, validation_episodes=40)
    method = build("classifier-baseline", config, train.image, train.num_classes, 5, 1)
    training = FewShotTraining(method, experiment, config.training, train, validation)
    optimizer = optimizer_of(training.module, config.training, training.updates)
    before = training.evaluate(np.random.default_rng(0))["fewshot/accuracy"]
    for number in range(training.updates):
        batch = training.collect(np.random.default_rng(number))
        optimizer.update(lambda data=batch.data: training.loss(data))
    assert training.evaluate(np.random.default_rng(0))["fewshot/accuracy"] > before + 0.05


def moved(optimizer, classes, updates=40):
    """How far the weights of a class have come, on the average, in a training on so many classes."""
    images = torch.rand(classes, 1, 16, 16, generator=generator()).mul(255).to(torch.uint8)
    given = ClassStore(images, torch.arange(classes + 1), [f"{n:04d}" for n in range(classes)])
    config = small(batch=16, augment="none")
    config = replace(config, training=replace(config.training, milestones=(), **OPTIMISERS[optimizer]))
    torch.manual_seed(0)
    method = build("classifier-baseline", config, given.image, classes, 5, 1)
    before, weights = method.module.head.weight.detach().clone(), dict(method.module.named_parameters())
    steps = optimizer_of(method.module, config.training, updates)
    for number in range(updates):
        batch = method.stages[0].draw(given, generator(number), 0.0)
        steps.update(lambda batch=batch: method.stages[0].loss(weights, batch))
    return float((method.module.head.weight.detach() - before).norm(dim=1).mean())


def test_with_many_classes_the_optimiser_for_characters_still_moves_their_weights():
    papers, ours = ({number: moved(kind, number) for number in (16, 1024)} for kind in (False, True))
    assert papers[1024] < 0.2 * papers[16]
    assert ours[1024] > 0.5 * ours[16]


def test_photographs_get_the_papers_network():
    config = preset("classifier-baseline", "mini-imagenet", 5, 5)
    assert (config.backbone.name, config.backbone.activation, config.batch) == ("resnet12", "leaky_relu", 128)
    assert config.augment == "resized_crop"
    assert config.training.milestones == (0.9,)
    assert (config.training.optimizer, config.training.lr, config.training.momentum) == ("sgd", 0.1, 0.9)
    assert preset("classifier-baseline", "tiered-imagenet", 5, 1).batch == 512
    assert preset("classifier-baseline", "omniglot", 20, 1).backbone.name == "conv4"


def test_augmenting_episodes_that_nothing_is_trained_on_is_refused():
    with pytest.raises(ValueError, match=r"training\.augment='crop', expected 'none'.* augment$"):
        Config(training=EpisodicTraining(augment="crop"))


@pytest.mark.parametrize("wrong", [{"batch": 1}, {"augment": "flip"}, {"scale": 0.0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
