"""Meta-Baseline (Chen, Liu, Xu, Darrell and Wang 2021, "Meta-Baseline: Exploring Simple Meta-Learning ...").

First a network with a linear head classifies all training classes (see `classifier_baseline`). Then the head is
dropped, and the network is trained on episodes: a query belongs to a class with probability
softmax_w(s cos(f(q), c_w)), c_w the mean of the class's support features, with a learned scale s.

Differences from the paper: those of `classifier_baseline`; the best state in validation may be of either part. The scale
is learned as s = s_0 exp(t) from t = 0, so that weight decay draws it to its start and not to 0.

Legend: W ways (classes), S shots, Q queries of each class.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.supervised.backbones import backbone
from metarl.supervised.classification import classification_stage
from metarl.supervised.distances import class_means, cosine_similarities
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.meta_baseline import Config
from metarl.transforms import stateless


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Meta-Baseline with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    if config.pretraining.share:
        module.head = nn.Linear(module.net.feature_size, classes)
    if config.learn_scale:
        module.log_factor = nn.Parameter(torch.zeros(()))
    net = stateless(module.net, "net.")

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        means = class_means(support, episode.support_labels, episode.way)
        scale = config.scale * params["log_factor"].exp() if config.learn_scale else config.scale
        scores = scale * cosine_similarities(query, means)
        return F.cross_entropy(scores, episode.query_labels), scores

    first = config.pretraining
    if not first.share:
        return Method(module, task, embeds=True)
    stage = classification_stage(net, first.batch, first.augment, first.share, first.as_training())
    return Method(module, task, (stage,), embeds=True)
