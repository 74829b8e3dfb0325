"""CAVIA (Zintgraf, Shiarlis, Kurin, Hofmann and Whiteson 2019, "Fast Context Adaptation via Meta-Learning").

Network and head, theta, are shared by all tasks; a task is a context vector phi, which starts at 0 and takes the inner
steps, phi <- phi - a grad_phi L_support(theta, phi). theta minimises L_query(theta, phi_K) through them (Algorithm 1).

On images the context scales and shifts the channels of one block after its norm and before its nonlinearity: (g, b) is
a linear function of phi, and a channel h becomes g h + b. g is not 1 + something: at phi = 0 it is the linear layer's
bias, which starts at random. In a regression the context joins the input.

Differences from the paper: the best state in validation is kept; weights and biases start as PyTorch has them (theirs: He
et al.'s filters, biases at 0).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metarl.adaptation import adapt
from metarl.supervised.backbones import backbone
from metarl.supervised.episodes import Episode
from metarl.supervised.inner_loop import Learner, in_testing, sgd, with_ways
from metarl.supervised.methods.config import InnerLoop, Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.presets.cavia import Config
from metarl.supervised.task_kinds import query_loss
from metarl.transforms import stateless

CONTEXT = "context"
"""Name of phi among the params while a task lasts; it is never trained."""


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """CAVIA with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; fewer will do, more will not: the head does not adapt, so it knows no more
            classes than it was trained with.
        shot: Support images of each class (not needed).

    Raises:
        ValueError: The network has no such block, or fewer classes are trained with than tested.
    """
    trained = config.training.way or way
    if len(image) > 1 and trained < way:
        raise ValueError(_too_many(way, trained))
    module = nn.Module()
    network = (_with_input if len(image) == 1 else _with_film)(module, config, image)
    module.head = nn.Linear(module.net.feature_size, min(classes, trained))
    task, test = (
        partial(cavia_task, network, config.context, each)
        for each in (config.inner, in_testing(config.inner))
    )
    return Method(module, task, test=test)


def _with_input(module: nn.Module, config: Config, image: tuple[int, ...]) -> Learner:
    """A network that takes input and context side by side."""
    module.net = backbone(config.backbone, (image[0] + config.context,))
    net = stateless(module.net, "net.")

    def features(params: Params, inputs: Tensor, **options: Any) -> Tensor:
        context = params[CONTEXT].expand(len(inputs), -1)
        return net(params, torch.cat([inputs, context], 1), **options)

    return Learner(module, features)


def _with_film(module: nn.Module, config: Config, image: tuple[int, ...]) -> Learner:
    """A network of which the context scales and shifts one block."""
    module.net = backbone(config.backbone, image)
    sizes = module.net.film_sizes
    if not 1 <= config.block <= len(sizes):
        raise ValueError(
            f"block={config.block}, expected a place from 1 to {len(sizes)} of {config.backbone.name}"
        )
    module.film = nn.Linear(config.context, 2 * sizes[config.block - 1])
    net, film = stateless(module.net, "net."), stateless(module.film, "film.")

    def features(params: Params, images: Tensor, **options: Any) -> Tensor:
        places: list[Any] = [None] * len(sizes)
        places[config.block - 1] = film(params, params[CONTEXT]).chunk(2)
        return net(params, images, film=places, **options)

    return Learner(module, features)


def cavia_task(
    network: Learner, size: int, inner: InnerLoop, params: Params, episode: Any, statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """One task: the context adapts, everything else stays.

    Args:
        network: Features from params that have a context, and head.
        size: Numbers of the context.
        inner: The inner loop.
        params: theta.
        episode: The task.
        statistics: Normalisation mode.

    Raises:
        ValueError: The task has more classes than the head.
    """
    rows = params["head.weight"].shape[0]
    if isinstance(episode, Episode) and episode.way > rows:
        raise ValueError(_too_many(episode.way, rows))
    start = {**with_ways(params, episode), CONTEXT: params["head.weight"].new_zeros(size)}
    loss = partial(network.support_loss, statistics=statistics)
    fast = adapt(
        start,
        loss,
        episode,
        rule=sgd(inner),
        steps=inner.steps,
        adapted=(CONTEXT,),
        first_order=inner.first_order,
    )
    scores = network.query_scores(fast, episode, statistics)
    return query_loss(scores, episode), scores


def _too_many(way: int, trained: int) -> str:
    return (
        f"cavia adapts its context alone and tells apart as many classes as it was trained with: expected {trained} or "
        f"fewer, got {way}; train it with --way {way}"
    )
