"""Triplet networks (Hoffer and Ailon 2015, "Deep Metric Learning Using Triplet Network").

An anchor x, a positive x+ of the same class and a negative x- of another have distances d+ = |f(x) - f(x+)| and
d- = |f(x) - f(x-)|. The loss of a triplet is one of
    softmax: the squared error of (e^d+, e^d-) / (e^d+ + e^d-) against (0, 1), which is 2 sigmoid(d+ - d-)^2,
    margin:  max(0, d+ - d- + m),
averaged over triplets of an episode's images, support and query alike. Random triplets soon teach nothing: for each
anchor and positive the negative is the nearest that is farther than the positive, or the farthest if none is
("semi-hard"). A query belongs to a class with probability softmax_w(-|f(q) - c_w|), c_w the mean of its support.

Differences from the paper, which classifies whole data sets: triplets are mined ("all": the mean over all triplets of
an episode, in place of random ones); the four-block convolutional network and Adam, not 5x5 to 2x2 filters with dropout
and SGD; the nearest class mean in testing.

Legend: W ways (classes), N images, M queries, D features.
"""

from functools import partial

import torch
from torch import Tensor, nn

from metarl.supervised.backbones import backbone
from metarl.supervised.distances import class_means, squared_distances
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.triplet import Config
from metarl.transforms import stateless

NEAREST = 1e-6
"""Added to squared distances, whose root would have no derivative at 0."""


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Triplet networks with fresh parameters.

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

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        labels = torch.cat([episode.support_labels, episode.query_labels])
        loss = triplet_loss(torch.cat([support, query]), labels, config)
        return loss, -distances(query, class_means(support, episode.support_labels, episode.way))

    return Method(module, task, embeds=True)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances with a derivative at 0: (N, D) and (M, D) to (N, M)."""
    return (squared_distances(first, second) + NEAREST).sqrt()


def triplet_loss(features: Tensor, labels: Tensor, config: Config) -> Tensor:
    """Mean loss of the triplets of some images; 0 where there are none.

    Args:
        features: (N, D).
        labels: Their classes, int64, (N,).
        config: Loss, margin and mining.
    """
    between = distances(features, features)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    pairs = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if config.mining == "all":
        positive, negative = between.unsqueeze(2), between.unsqueeze(1)
        used = pairs.unsqueeze(2) & ~same.unsqueeze(1)
    else:
        positive, negative = between, semi_hard(between, ~same)
        used = pairs & ~same.all(1, keepdim=True)
    difference = positive - negative
    by_margin = config.loss == "margin"
    losses = (difference + config.margin).relu() if by_margin else 2 * difference.sigmoid().square()
    return (losses * used).sum() / used.sum().clamp_min(1)


def semi_hard(between: Tensor, negative: Tensor) -> Tensor:
    """For every anchor and positive, the distance of the anchor to the negative that is to be learned from.

    Args:
        between: Distances of anchors (rows) to all images, (N, N).
        negative: Which images are of other classes than the anchor, (N, N).

    Returns:
        (N, N): the least distance to a negative that is larger than that to the positive, else the largest to any
        negative; of no use where an anchor has no negative.
    """
    known, counts = between.detach(), negative.sum(1, keepdim=True)
    ascending, order = torch.where(negative, known, torch.inf).sort(1)
    place = torch.searchsorted(ascending, known, right=True)
    return between.gather(1, order.gather(1, place.minimum(counts - 1).clamp_min(0)))
