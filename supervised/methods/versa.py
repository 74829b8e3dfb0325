"""VERSA (Gordon et al. 2019, "Meta-Learning Probabilistic Inference for Prediction").

A network looks at the support of a class and says a distribution of this class's row of a linear classifier, without a
gradient step and without a look at the other classes:
    q(w_c) = N(mu(h_c), sigma^2(h_c)),  h_c = mean_i f(x_i) over the class's images,
and likewise for its bias b_c, by networks of three layers. A query's probabilities are averaged over classifiers drawn
from it,
    p(y | x) = 1/L sum_l softmax(W_l f(x) + b_l)_y,
and the loss is -log p of the right class. Instead of weights, the scores they give are drawn: independent Gaussians with
mean mu' f(x) and variance sigma^2' f(x)^2. Scores that are returned are log p.

Differences from the paper: four blocks for photographs too (theirs has five); a linear layer brings the flat maps to the
size of the amortisation networks (theirs have it already, by pooling that rounds up); no dropout; weights start as
PyTorch has them; support and query are normalised together in training and by averages in testing (theirs: each by its
own batch, which makes it transductive); probabilities are averaged in predicting as well (their code averages
exponentials of scores that are not normalised).
In testing, noise is fixed: one draw for every class of the store and every sample.

Legend: W ways (classes), N support images, M queries, D features, L samples.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn import MLP
from metarl.supervised.backbones import backbone
from metarl.supervised.distances import class_means
from metarl.supervised.episode_stage import prepared_stage
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.versa import Config
from metarl.supervised.task_kinds import accuracy_of
from metarl.transforms import stateless

NOISES = 10_007
"""Draws of noise for testing; classes whose numbers differ by a multiple of it share one."""


class Gaussian(NamedTuple):
    """Independent normal variables."""

    mean: Tensor
    """Any shape."""
    variance: Tensor
    """The same shape, above 0."""


class Amortiser(nn.Module):
    """From a class's mean features to the distribution of its row of the classifier and of its bias.

    Args:
        size: D.
    """

    def __init__(self, size: int):
        super().__init__()
        widths = {"weight": (size, size), "bias": (size, 1)}
        self.mean = nn.ModuleDict({name: MLP((size, size, *each), "elu") for name, each in widths.items()})
        self.log_variance = nn.ModuleDict(
            {name: MLP((size, size, *each), "elu") for name, each in widths.items()}
        )

    def forward(self, means: Tensor) -> tuple[Gaussian, Gaussian]:
        """Class means (W, D) to weights (W, D) and biases (W, 1)."""
        weight, bias = (
            Gaussian(self.mean[name](means), self.log_variance[name](means).exp()) for name in self.mean
        )
        return weight, bias


class Inference(nn.Module):
    """Everything that is learned.

    Args:
        net: The backbone.
        size: D.
    """

    def __init__(self, net: nn.Module, size: int):
        super().__init__()
        self.net, self.project, self.amortiser = net, nn.Linear(net.feature_size, size), Amortiser(size)


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """VERSA with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of a training episode, unless the settings say otherwise; others will do in testing.
        shot: Support images of each class, likewise.
    """
    module = Inference(backbone(config.backbone, image), config.features)
    generator = torch.Generator().manual_seed(0)
    module.register_buffer(
        "noise", torch.randn(NOISES, config.samples, generator=generator), persistent=False
    )
    net, amortise = stateless(module.net, "net."), stateless(module.amortiser, "amortiser.")
    training = config.training

    def scores_of(params: Params, episode: Episode, statistics: Statistics) -> Gaussian:
        support, query = (
            F.linear(each, params["project.weight"], params["project.bias"])
            for each in embed(partial(net, params), episode, statistics)
        )
        weight, bias = amortise(params, class_means(support, episode.support_labels, episode.way))
        return linear_scores(query, weight, bias)

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        noise = module.noise[episode.classes % NOISES].mT.unsqueeze(1)  # (L, 1, W): all queries share it
        found = averaged(scores_of(params, episode, statistics), noise)
        return F.nll_loss(found, episode.query_labels), found

    def prepare(episodes: Episode, generator: torch.Generator) -> tuple[Episode, Tensor]:
        tasks, queries = episodes.query_labels.shape
        shape = (tasks, config.samples, queries, episodes.way)
        return episodes, torch.randn(shape, generator=generator).to(episodes.query)

    def one(params: Params, prepared: tuple[Episode, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        episode, noise = prepared
        found = averaged(scores_of(params, episode, training.statistics), noise)
        return F.nll_loss(found, episode.query_labels), {"accuracy": accuracy_of(found, episode)}

    return Method(module, task, (prepared_stage(training, way, shot, prepare, one),), embeds=True)


def linear_scores(query: Tensor, weight: Gaussian, bias: Gaussian) -> Gaussian:
    """What a random linear classifier says of queries.

    Args:
        query: (M, D).
        weight: (W, D).
        bias: (W, 1).

    Returns:
        (M, W).
    """
    mean = query @ weight.mean.mT + bias.mean.mT
    return Gaussian(mean, query.square() @ weight.variance.mT + bias.variance.mT)


def averaged(scores: Gaussian, noise: Tensor) -> Tensor:
    """Logarithms of mean probabilities.

    Args:
        scores: (M, W).
        noise: Standard normal, (L, M, W), or what broadcasts to it.

    Returns:
        (M, W).
    """
    drawn = scores.mean + scores.variance.sqrt() * noise
    return drawn.log_softmax(-1).logsumexp(0) - math.log(len(noise))
