"""Training stages on episodes, for methods whose training needs more than `Method.task` gives.

That is the progress of the training, the losses of all tasks together, state of their own, or noise.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarl import distributed
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Params, Stage
from metarl.supervised.task_kinds import Store, sampler_of
from metarl.tasks import over_tasks

Loss = Callable[[Params, Any, float], tuple[Tensor, dict[str, Tensor]]]
"""`loss(params, episodes, progress)` of this rank's episodes, with a leading axis of tasks: their mean, and metrics."""


def draw_episodes(
    store: Store, generator: torch.Generator, training: EpisodicTraining, way: int, shot: int
) -> Any:
    """This rank's episodes of one update, with a leading axis of tasks.

    Args:
        store: Images by class, or functions.
        generator: On the CPU, another on every rank.
        training: Ways, shots, queries and tasks.
        way: Classes where `training` says nothing.
        shot: Support images of each class, likewise.
    """
    sampler = sampler_of(store, training.way or way, training.shot or shot, training.query)
    return sampler.draw(len(distributed.share(training.tasks)), generator)


def episode_stage(training: EpisodicTraining, way: int, shot: int, loss: Loss, share: float = 1.0) -> Stage:
    """A part of the training on episodes.

    Args:
        training: Ways, shots, queries and tasks.
        way: Classes where `training` says nothing.
        shot: Support images of each class, likewise.
        loss: What is to fall.
        share: Of the training's updates.
    """

    def draw(store: Store, generator: torch.Generator, progress: float) -> tuple[Any, float]:
        return draw_episodes(store, generator, training, way, shot), progress

    return Stage(draw, lambda params, batch: loss(params, *batch), share)


def prepared_stage(
    training: EpisodicTraining,
    way: int,
    shot: int,
    prepare: Callable[[Any, torch.Generator], Any],
    one: Callable[[Params, Any], tuple[Tensor, dict[str, Tensor]]],
    share: float = 1.0,
) -> Stage:
    """A part of the training on episodes to which something is done, or to which something random belongs.

    Args:
        training: Ways, shots, queries and tasks.
        way: Classes where `training` says nothing.
        shot: Support images of each class, likewise.
        prepare: Makes of episodes with a leading axis T what the loss is given, a pytree with the same axis. Noise
            belongs here, from the generator (on the CPU), so that it does not depend on how tasks are batched.
        one: Loss of ONE prepared task, and metrics.
        share: Of the training's updates.
    """

    def draw(store: Store, generator: torch.Generator, progress: float) -> Any:
        return prepare(draw_episodes(store, generator, training, way, shot), generator)

    def loss(params: Params, prepared: Any) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = over_tasks(one)(params, prepared)
        return losses.mean(), {name: each.mean() for name, each in metrics.items()}

    return Stage(draw, loss, share)
