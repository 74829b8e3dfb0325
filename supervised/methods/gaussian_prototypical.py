"""Gaussian prototypical networks (Fort 2017, "Gaussian Prototypical Networks for Few-Shot Learning on Omniglot").

The network says of an image both where it is, x, and how certain it is of it, s = 1 + softplus(raw) > 1: the inverse of
a variance, one for all features ("radius") or one for each ("diagonal"). A class is a Gaussian,
    S_w = sum_i s_i,    p_w = sum_i s_i x_i / S_w,
and a query belongs to it with probability softmax_w(-sqrt((x - p_w)' S_w (x - p_w))); its own s plays no part. The loss
is the cross-entropy of the queries. Certainty is of use where images differ in quality: `damaged` blurs some.

Differences from the paper: certainty is a linear layer on the features of any backbone, not channels of the last
block, whose norm comes before its nonlinearity here; batch norm goes by averages in testing (the paper: by the batch);
5 queries of each class in a training episode (the paper: all that are left).

Legend: N images, M queries, W ways (classes), S shots, Q queries of each class, D features, V 1 or D.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.supervised.backbones import backbone
from metarl.supervised.distances import class_means, members
from metarl.supervised.episode_stage import prepared_stage
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.gaussian_prototypical import Config
from metarl.supervised.task_kinds import accuracy_of
from metarl.transforms import stateless

Task = Callable[[Params, Episode, Statistics], tuple[Tensor, Tensor]]

NEAREST = 1e-6
"""Added to squared distances, whose root would have no derivative at 0."""
COARSEST, FINEST = 16 / 28, 24 / 28
"""Between which shares of their height and width damaged images are shrunk, before they are stretched again."""


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Gaussian prototypical networks with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of a training episode, unless the settings say otherwise.
        shot: Support images of each class, likewise.
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    size = module.net.feature_size
    module.certainty = nn.Linear(size, 1 if config.certainty == "radius" else size)
    net, raw = stateless(module.net, "net."), stateless(module.certainty, "certainty.")

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        certainty = 1 + F.softplus(raw(params, support))
        scores = -distances(query, *gaussians(support, certainty, episode.support_labels, episode.way))
        return F.cross_entropy(scores, episode.query_labels), scores

    if not config.damaged:
        return Method(module, task, embeds=True)
    return Method(module, task, (_damaged_episodes(config, task, way, shot),), embeds=True)


def gaussians(features: Tensor, certainty: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Centres and certainties of the classes.

    Args:
        features: (N, D).
        certainty: (N, V), above 0.
        labels: int64 in [0, W), (N,), each class at least once.
        way: W.

    Returns:
        (W, D) and (W, V).
    """
    centres = class_means(certainty * features, labels, way) / class_means(certainty, labels, way)
    return centres, members(labels, way).to(certainty.dtype) @ certainty


def distances(queries: Tensor, centres: Tensor, certainties: Tensor) -> Tensor:
    """Distances in units of each class's deviation.

    Args:
        queries: (M, D).
        centres: (W, D).
        certainties: (W, V).

    Returns:
        (M, W).
    """
    weights = certainties.expand_as(centres)
    pulled = weights * centres
    squared = queries.square() @ weights.mT - 2 * queries @ pulled.mT + (pulled * centres).sum(-1)
    return (squared.clamp_min(0) + NEAREST).sqrt()


def damaged(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images some of which are shrunk and stretched again, each to a random degree of three.

    Args:
        images: (N, C, H, W').
        share: How many of them, on average.
        generator: On the CPU.
    """
    size = images.shape[-2:]
    degree = torch.randint(1, 4, images.shape[:1], generator=generator)
    chosen = torch.rand(images.shape[:1], generator=generator) < share
    degree = torch.where(chosen, degree, 0).to(images.device).view(-1, 1, 1, 1)
    for number, factor in enumerate((COARSEST, (COARSEST + FINEST) / 2, FINEST), 1):
        small = [max(1, round(factor * each)) for each in size]
        coarse = F.interpolate(images, small, mode="bilinear", antialias=True)
        images = torch.where(degree == number, F.interpolate(coarse, size, mode="bilinear"), images)
    return images


def _damaged_episodes(config: Config, task: Task, way: int, shot: int) -> Stage:
    """The whole training, on episodes with damaged images."""
    training = config.training

    def prepare(episodes: Episode, generator: torch.Generator) -> Episode:
        parts = [
            damaged(each.flatten(0, 1), config.damaged, generator).view_as(each)
            for each in (episodes.support, episodes.query)
        ]
        return episodes._replace(support=parts[0], query=parts[1])

    def one(params: Params, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        loss, scores = task(params, episode, training.statistics)
        return loss, {"accuracy": accuracy_of(scores, episode)}

    return prepared_stage(training, way, shot, prepare, one)
