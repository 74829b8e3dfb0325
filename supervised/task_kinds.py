"""What differs between classifying images and regression: how tasks are drawn, and what they are judged by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.regression import Regression, RegressionSampler, Sinusoids

Store = ClassStore | Sinusoids
"""Where tasks come from."""


@dataclass(frozen=True)
class Measure:
    """How well a task is solved."""

    name: str
    """As logs and results have it."""
    of: Callable[[Tensor, Any], Tensor]
    """`of(scores, episode)`, a scalar."""
    sign: float
    """1 where more is better, -1 where less is."""


def accuracy_of(scores: Tensor, episode: Episode) -> Tensor:
    """Share of the queries whose highest score is their class's: (W Q, W) to a scalar."""
    return (scores.argmax(-1) == episode.query_labels).float().mean()


def squared_error_of(predictions: Tensor, episode: Regression) -> Tensor:
    """Mean squared error of the queries: (Q, 1) to a scalar."""
    return F.mse_loss(predictions, episode.query_targets)


ACCURACY = Measure("accuracy", accuracy_of, 1.0)
SQUARED_ERROR = Measure("mse", squared_error_of, -1.0)


def measure_of(tasks: Store | Episode | Regression) -> Measure:
    """What tasks of a kind are judged by."""
    return SQUARED_ERROR if isinstance(tasks, Sinusoids | Regression) else ACCURACY


def sampler_of(store: Store, way: int, shot: int, query: int) -> EpisodeSampler | RegressionSampler:
    """What draws tasks.

    Args:
        store: Images by class, or functions.
        way: Classes of an episode; means nothing for functions.
        shot: Support images of each class, or support points.
        query: Query images of each class, or query points.
    """
    if isinstance(store, Sinusoids):
        return RegressionSampler(store, shot, query)
    return EpisodeSampler(store, way, shot, query)


def training_sampler(
    store: Store, training: EpisodicTraining, way: int, shot: int
) -> EpisodeSampler | RegressionSampler:
    """What draws the tasks of training.

    Args:
        store: Images by class, or functions.
        training: Ways, shots, queries, and how images are changed.
        way: Classes where `training` says nothing.
        shot: Support images of each class, likewise.

    Raises:
        ValueError: The tasks cannot be drawn from the store.
    """
    way, shot = training.way or way, training.shot or shot
    if not isinstance(store, Sinusoids):
        if way > store.num_classes:
            raise ValueError(
                f"a training episode of {way} ways needs as many classes, but there are {store.num_classes}: lower "
                "--training.way"
            )
        return EpisodeSampler(store, way, shot, training.query, training.augment)
    if training.augment != "none":
        raise ValueError(f"training.augment={training.augment!r} changes images, but the data are functions")
    return RegressionSampler(store, shot, training.query)


def support_loss(scores: Tensor, episode: Episode | Regression) -> Tensor:
    """Mean cross-entropy of the support's scores (W S, W), or mean squared error of predictions (K, 1)."""
    if isinstance(episode, Regression):
        return F.mse_loss(scores, episode.support_targets)
    return F.cross_entropy(scores, episode.support_labels)


def query_loss(scores: Tensor, episode: Episode | Regression) -> Tensor:
    """The same of the query."""
    if isinstance(episode, Regression):
        return F.mse_loss(scores, episode.query_targets)
    return F.cross_entropy(scores, episode.query_labels)
