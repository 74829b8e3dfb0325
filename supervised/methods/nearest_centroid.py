"""The nearest class mean of pixels: the floor that every trained method must rise above.

Prototypical networks (Snell et al. 2017) with f(x) = x: a class is the mean picture of its support, and a query belongs
to it with probability softmax_w(-|q - c_w|^2). There are no parameters.

Legend: W ways (classes), Q queries of each class.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from metarl.supervised.distances import class_means
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.methods.prototypical import closeness
from metarl.supervised.presets.nearest_centroid import Config
from metarl.supervised.presets.prototypical import SCALES


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """The nearest class mean.

    Args:
        config: Settings.
        image: Channels, height and width (not needed).
        classes: Training classes (not needed).
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    scale = config.scale or SCALES[config.distance]

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        means = class_means(episode.support.flatten(1), episode.support_labels, episode.way)
        scores = scale * closeness(episode.query.flatten(1), means, config.distance)
        return F.cross_entropy(scores, episode.query_labels), scores

    return Method(nn.Module(), task)
