"""Distances between queries and classes, with exact derivatives of every order.

Legend: M queries, N support images, W classes, D features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def squared_distances(queries: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances by expansion, never below zero.

    Args:
        queries: (..., M, D).
        centres: (..., W, D).

    Returns:
        (..., M, W).
    """
    lengths = queries.square().sum(-1, keepdim=True) + centres.square().sum(-1).unsqueeze(-2)
    return (lengths - 2 * queries @ centres.mT).clamp_min(0)


def cosine_similarities(queries: Tensor, centres: Tensor) -> Tensor:
    """Cosines of the angles, in [-1, 1]; 0 with a vector of zeros.

    Args:
        queries: (..., M, D).
        centres: (..., W, D).

    Returns:
        (..., M, W).
    """
    return F.normalize(queries, dim=-1) @ F.normalize(centres, dim=-1).mT


def members(labels: Tensor, way: int) -> Tensor:
    """Which rows belong to which class (vmap refuses `F.one_hot` on a GPU).

    Args:
        labels: int64 in [0, W), (N,).
        way: W.

    Returns:
        Booleans (W, N).
    """
    return labels == torch.arange(way, device=labels.device).unsqueeze(1)


def class_means(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """The mean of each class, which may have any number of rows; zeros for a class without one.

    Args:
        features: (N, D).
        labels: int64 in [0, W), (N,).
        way: W.

    Returns:
        (W, D).
    """
    weights = members(labels, way).to(features.dtype)
    return weights @ features / weights.sum(1, keepdim=True).clamp_min(1)
