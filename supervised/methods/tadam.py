"""TADAM (Oreshkin, Rodriguez and Lacoste 2018, "TADAM: Task dependent adaptive metric for improved few-shot learning").

A query belongs to a class with probability softmax_w(-s d(f(q, T), c_w)), where c_w is the mean of the class's support
features, d a distance and s its scale. Features depend on the task T:
    1. The network sees the support as it is; e is the mean of the class means.
    2. It sees support and query with channel j of layer l, after its norm, times 1 + a_l * g_l(e) and plus b_l * h_l(e).
       g_l and h_l are residual networks of three layers; the factors a_l and b_l start at 0 and are penalised.
Some updates classify all training classes instead (with the features of 1), at the share t of the training with
probability 0.9^floor(20 t).

Differences from the paper: s is learned, as s = s_0 exp(t) from t = 0, where the paper tries values; every class has
equally many queries; every block of the ResNet-12 halves its image. Batch norm keeps averages of its own for 1, which
sees other features than 2. The running averages are estimated from training episodes before every validation.

Legend: T tasks, W ways (classes), S shots, Q queries of each class, D features.
"""

import random
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl import distributed
from metarl.names import unknown
from metarl.nn import BatchNorm, Film
from metarl.supervised.augmentation import AUGMENTATIONS
from metarl.supervised.backbones import backbone
from metarl.supervised.class_store import ClassStore
from metarl.supervised.classification import Labelled, classification_loss, draw_batch
from metarl.supervised.distances import class_means
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.methods.prototypical import closeness
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.tadam import SCALES, Config
from metarl.supervised.task_kinds import accuracy_of, training_sampler
from metarl.tasks import over_tasks
from metarl.transforms import stateless

LEAST_SQUARE = 1e-6
"""Added to squared distances before the root, whose slope at 0 is infinite."""


class Residual(nn.Module):
    """Three layers, the last two added to what they are given.

    Args:
        size: D.
        width: Of every layer.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(n, width) for n in (size, width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (D,) to (width,)."""
        x = self.first(x).relu()
        x = x + self.second(x).relu()
        return x + self.third(x)


class Conditioner(nn.Module):
    """From a task to scale and shift of every channel of a network.

    Args:
        size: D.
        widths: Channels at every place where scale and shift enter.
    """

    def __init__(self, size: int, widths: tuple[int, ...]):
        super().__init__()
        self.scales = nn.ModuleList(Residual(size, width) for width in widths)
        self.shifts = nn.ModuleList(Residual(size, width) for width in widths)
        self.factors = nn.ParameterList(torch.zeros(2, width) for width in widths)

    def forward(self, embedding: Tensor) -> list[Film]:
        """The mean of class means (D,) to scale and shift, (width,) each, of every place."""
        nets = zip(self.scales, self.shifts, self.factors, strict=True)
        return [
            (1 + factor[0] * scale(embedding), factor[1] * shift(embedding)) for scale, shift, factor in nets
        ]


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """TADAM with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of an episode of testing, and of training unless the settings say otherwise; others will do.
        shot: Support images of each class, likewise.
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    net = stateless(module.net, "net.")
    films = _conditioning(module, net) if config.conditioning else None
    scale = config.scale or SCALES[config.distance]
    if config.learn_scale:
        module.log_factor = nn.Parameter(torch.zeros(()))
    if config.auxiliary:
        module.head = nn.Linear(module.net.feature_size, classes)

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        film = films(params, episode, statistics) if films else None
        support, query = embed(partial(net, params), episode, statistics, film=film)
        means = class_means(support, episode.support_labels, episode.way)
        factor = scale * params["log_factor"].exp() if config.learn_scale else scale
        scores = factor * nearness(query, means, config.distance)
        return F.cross_entropy(scores, episode.query_labels), scores

    return Method(module, task, (_stage(config, task, net, way, shot),))


def nearness(query: Tensor, means: Tensor, distance: str) -> Tensor:
    """How close queries (W Q, D) are to class means (W, D): minus distances or their squares, or cosines, (W Q, W)."""
    if distance == "euclidean":
        return -(LEAST_SQUARE - closeness(query, means, "squared")).sqrt()
    return closeness(query, means, distance)


def _conditioning(
    module: nn.Module, net: Callable[..., Tensor]
) -> Callable[[Params, Episode, Statistics], list[Film]]:
    """What the support does to the network; the module gets a conditioner, and averages of batch norm for step 1."""
    module.conditioner = Conditioner(module.net.feature_size, module.net.film_sizes)
    conditioner = stateless(module.conditioner, "conditioner.")
    norms = {name: each for name, each in module.net.named_modules() if isinstance(each, BatchNorm)}
    module.first_norms = nn.ModuleList(BatchNorm(each.channels, affine=False) for each in norms.values())

    def films(params: Params, episode: Episode, statistics: Statistics) -> list[Film]:
        pairs = zip(norms, module.first_norms, strict=True)
        averages = {f"net.{name}.{key}": value for name, norm in pairs for key, value in norm.named_buffers()}
        by = "running" if statistics == "running" else "batch"
        features = net({**params, **averages}, episode.support, statistics=by)
        means = class_means(features, episode.support_labels, episode.way)
        return conditioner(params, means.mean(0))

    return films


def _stage(config: Config, task: Callable, net: Callable[..., Tensor], way: int, shot: int) -> Stage:
    """The whole training: episodes, and batches of all classes."""
    if config.augment not in AUGMENTATIONS:
        raise unknown("augmentation", config.augment, AUGMENTATIONS)
    training = config.training
    penalty = max(0.0, config.penalty - training.weight_decay) / 2

    def draw(store: ClassStore, generator: torch.Generator, progress: float) -> Episode | Labelled:
        if config.auxiliary and classifies(progress):
            return draw_batch(store, generator, progress, batch=config.batch, augment=config.augment)
        sampler = training_sampler(store, training, way, shot)
        return distributed.part(sampler.draw(training.tasks, generator))

    def one(params: Params, episode: Episode) -> tuple[Tensor, Tensor]:
        loss, scores = task(params, episode, training.statistics)
        return loss, accuracy_of(scores.detach(), episode)

    def loss(params: Params, batch: Episode | Labelled) -> tuple[Tensor, dict[str, Tensor]]:
        if isinstance(batch, Labelled):
            return classification_loss(net, params, batch)
        losses, accuracies = over_tasks(one)(params, batch)
        factors = [each for name, each in params.items() if name.startswith("conditioner.factors.")]
        squares = sum(each.square().sum() for each in factors)
        scale = {"log_scale_change": params["log_factor"].detach()} if config.learn_scale else {}
        return losses.mean() + penalty * squares, {"accuracy": accuracies.mean(), **scale}

    return Stage(draw, loss)


def classifies(progress: float) -> bool:
    """Whether the update at this share of the training classifies all classes; the same on every rank.

    It is so with probability 0.9^floor(20 progress), by a number that the share alone decides.
    """
    return random.Random(progress).random() < 0.9 ** int(20 * progress)
