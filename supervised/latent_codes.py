"""LEO's classifier (Rusu et al. 2019): classes to codes, codes to weights, and steps in between.

Legend: W ways (classes), S copies of a class (shots), N support images, D features, Z numbers of a code.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn import linear
from metarl.supervised.distances import class_means

LEAST_SPREAD = 1e-10
"""Of a code or a weight."""


class Noise(NamedTuple):
    """What is random in one training episode."""

    kept: Tensor
    """Which features the encoder sees, 0 or 1 over the share that is kept, (N, D)."""
    support: Tensor
    """Likewise, which of the support a classifier sees at every inner step, those on codes first, (steps, N, D)."""
    query: Tensor
    """Likewise, which of the queries the last one sees, (M, D)."""
    code: Tensor
    """Standard normal, (W, S, Z)."""
    weights: Tensor
    """Standard normal, one for every decoding, (steps on codes + 1, W, S, D)."""


class Spread(NamedTuple):
    """Independent normal variables."""

    mean: Tensor
    """Any shape."""
    deviation: Tensor
    """The same shape, above 0."""

    def at(self, noise: Tensor | None) -> Tensor:
        """A draw, or the mean without noise."""
        return self.mean if noise is None else self.mean + self.deviation * noise


class Codec(nn.Module):
    """Encoder, relation network and decoder, all without biases.

    Args:
        features: D.
        latent: Z.
        hidden: Units of the relation network.
    """

    def __init__(self, features: int, latent: int, hidden: int):
        super().__init__()
        self.encoder = nn.Linear(features, latent, bias=False)
        sizes = (2 * latent, hidden, hidden, 2 * latent)
        self.relation = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))
        self.decoder = nn.Linear(latent, 2 * features, bias=False)
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)


def encoded(
    params: Mapping[str, Tensor], support: Tensor, labels: Tensor, way: int, kept: Tensor | None = None
) -> Spread:
    """The code of each class (equation 4 of the paper).

    The relation network looks at every ordered pair of the support's codes. Its answers are averaged over the partners
    and over the images of a class, and say mean and deviation.

    Args:
        params: Of a `Codec`, with the prefix `codec.`.
        support: Features (N, D).
        labels: int64 in [0, W), (N,).
        way: W.
        kept: What features are multiplied by, (N, D); None for nothing.

    Returns:
        (W, Z).
    """
    codes = linear(support if kept is None else support * kept, params["codec.encoder.weight"])
    number = len(codes)
    pairs = torch.cat(
        [codes.unsqueeze(1).expand(-1, number, -1), codes.unsqueeze(0).expand(number, -1, -1)], -1
    )
    x = pairs.flatten(0, 1)
    for layer in range(3):
        x = F.linear(x, params[f"codec.relation.{layer}.weight"])
        x = x.relu() if layer < 2 else x
    answers = class_means(x.view(number, number, -1).mean(1), labels, way)
    mean, raw = answers.chunk(2, -1)
    return Spread(mean, (raw.exp() - 1).clamp_min(LEAST_SPREAD))


def decoded(params: Mapping[str, Tensor], codes: Tensor) -> Spread:
    """The weights of a linear classifier (equation 6), from codes (W, S, Z) to (W, S, D).

    Deviations start small: about sqrt(2 / (D + W)) where the raw output is 0.
    """
    mean, raw = F.linear(codes, params["codec.decoder.weight"]).chunk(2, -1)
    offset = 1 - (2 / (mean.shape[-1] + mean.shape[0])) ** 0.5
    return Spread(mean, (raw.exp() - offset).clamp_min(LEAST_SPREAD))


def scores_of(features: Tensor, weights: Tensor) -> Tensor:
    """Class scores (M, W) of features (M, D), averaged over the copies of a class, whose weights are (W, S, D)."""
    return features @ weights.mean(1).mT


def divergence(codes: Spread) -> Tensor:
    """Mean KL divergence of every number of the codes from a standard normal variable, a scalar."""
    return 0.5 * (codes.mean.square() + codes.deviation.square() - 1 - 2 * codes.deviation.log()).mean()


def correlation(weight: Tensor) -> Tensor:
    """Mean squared difference from the identity of the correlations of a matrix's columns, a scalar.

    Args:
        weight: A decoder's, (2 D, Z): one column for every number of a code.
    """
    columns = F.normalize(weight, dim=0)
    return (
        (columns.mT @ columns - torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device))
        .square()
        .mean()
    )
