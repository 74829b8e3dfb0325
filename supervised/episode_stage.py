"""A training stage on episodes, for methods whose training needs more than `Method.task` gives.

That is the progress of the training, the losses of all tasks together, or state of their own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarl import distributed
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Params, Stage
from metarl.supervised.task_kinds import Store, sampler_of

Loss = Callable[[Params, Any, float], tuple[Tensor, dict[str, Tensor]]]
"""`loss(params, episodes, progress)` of this rank's episodes, with a leading axis of tasks: their mean, and metrics."""


def episode_stage(
    training: EpisodicTraining,
    way: int,
    shot: int,
    loss: Loss,
    share: float = 1.0,
    preferred: Callable[[torch.Generator], Tensor | None] | None = None,
    **options: Any,
) -> Stage:
    """A part of the training on episodes.

    Args:
        training: Ways, shots, queries and tasks.
        way: Classes where `training` says nothing.
        shot: Support images of each class, likewise.
        loss: What is to fall.
        share: Of the training's updates.
        preferred: Classes that the episodes of an update have if they can, see `EpisodeSampler.draw`.
        **options: Further fields of the stage.
    """

    def draw(store: Store, generator: torch.Generator, progress: float) -> tuple[Any, float]:
        sampler = sampler_of(store, training.way or way, training.shot or shot, training.query)
        among = {} if preferred is None else {"preferred": preferred(generator)}
        return sampler.draw(len(distributed.share(training.tasks)), generator, **among), progress

    return Stage(draw, lambda params, batch: loss(params, *batch), share, **options)
