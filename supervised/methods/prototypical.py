"""Prototypical networks (Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning").

A class is the mean of its support features, c_w = mean_i f(x_i) over the class's images; a query belongs to it with
probability softmax_w(-|f(q) - c_w|^2). The loss is the cross-entropy of the queries.

Differences from the paper: the running averages of batch norm are estimated from training episodes before every
validation, not followed during training; training does not stop early, the best state in validation is kept.

Legend: W ways (classes), S shots, Q queries of each class, D features.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from metarl.supervised.backbones import backbone
from metarl.supervised.distances import class_means, cosine_similarities, squared_distances
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.prototypical import SCALES, Config
from metarl.transforms import stateless


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Prototypical networks with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    net = stateless(module.net, "net.")
    scale = config.scale or SCALES[config.distance]

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        means = class_means(support, episode.support_labels, episode.way)
        scores = scale * closeness(query, means, config.distance)
        return F.cross_entropy(scores, episode.query_labels), scores

    return Method(module, task, embeds=True)


def closeness(query: Tensor, means: Tensor, distance: str) -> Tensor:
    """How close queries (W Q, D) are to class means (W, D): minus squared distances, or cosines, (W Q, W)."""
    if distance == "cosine":
        return cosine_similarities(query, means)
    return -squared_distances(query, means)
