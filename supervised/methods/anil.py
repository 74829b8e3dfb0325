"""ANIL (Raghu, Raghu, Bengio and Vinyals 2020, "Rapid Learning or Feature Reuse? ...").

MAML whose inner loop changes the linear head only, in training and testing; the network learns from the outer gradient
alone, through the head's steps. It sees the support once, whatever the number of steps.

NIL (section 5) is the same network without a head, for testing only: a query belongs to a class by the cosines of its
features with the support's, and nothing adapts. `--test nil` asks for it, in training's validations as well.

Differences from the paper: those of `metarl.supervised.methods.maml`. NIL's scores of a class are the mean of
s cos(f(q), f(x_i)) over the class's support, s = 10, where the paper adds them up: with equal shots the order of the
classes is the same.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from metarl.supervised.distances import class_means
from metarl.supervised.episodes import Episode
from metarl.supervised.inner_loop import Learner, gradient_method, learner_of, sgd
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Task
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.anil import Config

SCALE = 10.0
"""What cosines are multiplied by before a softmax."""


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """ANIL with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class (not needed).

    Raises:
        ValueError: A regression is to be tested without a head.
    """
    network = learner_of(config, image, classes, way)
    method = gradient_method(network, sgd(config.inner, config.head_lr), config.inner)
    if config.test == "head":
        return method
    if len(image) == 1:
        raise ValueError("test='nil' compares classes; a regression has none: expected test='head'")
    return Method(method.module, method.task, test=headless(network))


def headless(network: Learner) -> Task:
    """NIL's answer: cosines with the support, no head."""

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(network.features, params), episode, statistics)
        means = class_means(F.normalize(support, dim=-1), episode.support_labels, episode.way)
        scores = SCALE * F.normalize(query, dim=-1) @ means.mT
        return F.cross_entropy(scores, episode.query_labels), scores

    return task
