"""Classifier-Baseline (Chen, Liu, Xu, Darrell and Wang 2021, "Meta-Baseline: Exploring Simple Meta-Learning ...").

A network with a linear head classifies all training classes. Then the head is dropped: a class is the mean of its
support features, c_w = mean_i f(x_i), and a query belongs to the class with the largest cos(f(q), c_w).

Differences from the paper: batches are drawn with replacement, not epoch by epoch; the running averages of batch norm
are estimated from training images before every validation, not followed during training; validation classes alone
decide which state is best; characters, which the paper has not, are turned, sheared, scaled and moved at random, and
trained on by Adam.

Legend: W ways (classes), S shots, Q queries of each class.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from metarl.supervised.backbones import backbone
from metarl.supervised.classification import classification_stage
from metarl.supervised.distances import class_means, cosine_similarities
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.classifier_baseline import Config
from metarl.transforms import stateless


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Classifier-Baseline with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    module.head = nn.Linear(module.net.feature_size, classes)
    net = stateless(module.net, "net.")

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        means = class_means(support, episode.support_labels, episode.way)
        scores = config.scale * cosine_similarities(query, means)
        return F.cross_entropy(scores, episode.query_labels), scores

    stage = classification_stage(net, config.batch, config.augment, share=1.0)
    return Method(module, task, (stage,), embeds=True)
