"""Siamese networks (Koch, Zemel and Salakhutdinov 2015, "Siamese Neural Networks for One-shot Image Recognition").

Two pictures show the same with probability p(x, x') = sigmoid(b + sum_j a_j |f_j(x) - f_j(x')|). The loss is the binary
cross-entropy of pairs, as many of one class as of two. A query's class is that whose support images are, on average,
the most probable to show the same as the query.

Pairs are drawn from all training classes (`pairs`; Koch's network and settings are those for `omniglot-lake`), or are
those of the support and query images of episodes. Scores are the logs of the averages, so that a query's probabilities
are these divided by their sum.

Differences from the paper: the bias b; weights a start at -1 / sqrt(D), so that what is far apart counts as different,
and b above 0 where features start far apart (Koch's network begins with nearly the same for all pictures); Adam, where
the paper's SGD has step sizes and momenta of each layer that were not published; weights are not penalised; all 20
drawers of 25 alphabets are trained on, and 5 further alphabets are for validation.

Legend: W ways (classes), N support images, M queries, B pairs, D features.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl import distributed
from metarl.supervised.augmentation import affine
from metarl.supervised.backbones import backbone
from metarl.supervised.class_store import ClassStore
from metarl.supervised.distances import members
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.normalisation import embed
from metarl.supervised.pairs import Pairs, PairSampler
from metarl.supervised.presets.siamese import Config
from metarl.transforms import stateless


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Siamese networks with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    size = module.net.feature_size
    module.weight = nn.Parameter(torch.full((size,), -(size**-0.5)))
    module.bias = nn.Parameter(torch.tensor(config.bias))
    net = stateless(module.net, "net.")

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        raw = alike(params, query.unsqueeze(1), support)
        same = (episode.query_labels.unsqueeze(1) == episode.support_labels).to(raw.dtype)
        return pair_loss(raw, same), class_scores(raw, episode.support_labels, episode.way)

    if config.pairs is None:
        return Method(module, task, embeds=True)
    return Method(module, task, (_drawn_pairs(config, partial(_loss_of_pairs, net)),), embeds=True)


def alike(params: Params, first: Tensor, second: Tensor) -> Tensor:
    """How alike features are, before the sigmoid: (..., D) and (..., D) to (...)."""
    return (first - second).abs() @ params["weight"] + params["bias"]


def pair_loss(raw: Tensor, same: Tensor) -> Tensor:
    """Binary cross-entropy of pairs, both kinds weighing the same however many there are.

    Args:
        raw: Of any shape, before the sigmoid.
        same: 1 for pairs of one class, else 0, of the same shape.
    """
    losses = F.binary_cross_entropy_with_logits(raw, same, reduction="none")
    kinds = [(losses * each).sum() / each.sum().clamp_min(1) for each in (same, 1 - same)]
    return (kinds[0] + kinds[1]) / 2


def class_scores(raw: Tensor, labels: Tensor, way: int) -> Tensor:
    """Log of the mean probability that a query shows the same as a class's support images.

    Args:
        raw: Before the sigmoid, (M, N).
        labels: Classes of the support images, int64 in [0, W), (N,).
        way: W.

    Returns:
        (M, W); a class without images gets next to none.
    """
    own = members(labels, way)
    logs = F.logsigmoid(raw).unsqueeze(1).masked_fill(~own, torch.finfo(raw.dtype).min)
    return logs.logsumexp(-1) - own.sum(1).clamp_min(1).to(raw.dtype).log()


def _loss_of_pairs(
    net: Callable[..., Tensor], params: Params, pairs: Pairs
) -> tuple[Tensor, dict[str, Tensor]]:
    features = net(params, torch.cat([pairs.first, pairs.second]))
    raw = alike(params, *features.chunk(2))
    right = ((raw.detach() > 0) == (pairs.same > 0)).to(torch.float32).mean()
    return pair_loss(raw, pairs.same), {"pair_accuracy": right}


def _drawn_pairs(config: Config, loss: Callable[[Params, Pairs], tuple[Tensor, dict[str, Tensor]]]) -> Stage:
    """The whole training, on pairs."""

    def draw(store: ClassStore, generator: torch.Generator, done: float) -> Pairs:
        pairs = PairSampler(store, config.within_groups).draw(config.pairs, generator)
        if config.affine:
            pairs = Pairs(affine(pairs.first, generator), affine(pairs.second, generator), pairs.same)
        return distributed.part(pairs)

    return Stage(draw, loss)
