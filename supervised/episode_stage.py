"""Training stages on episodes, for methods whose training needs more than `Method.task` gives.

That is what changes as training goes on, the losses of all tasks together, state of their own, or noise.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl import distributed
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Params, Stage
from metarl.supervised.task_kinds import Store, training_sampler
from metarl.tasks import over_tasks

Loss = Callable[[Params, Any, Any], tuple[Tensor, dict[str, Tensor]]]
"""`loss(params, episodes, now)` of this rank's episodes, with a leading axis of tasks: their mean, and metrics. `now` is
what the stage's `schedule` gives."""


def episode_stage(
    training: EpisodicTraining,
    way: int,
    shot: int,
    loss: Loss,
    share: float = 1.0,
    preferred: Callable[[torch.Generator], Tensor | None] | None = None,
    schedule: Callable[[float], Any] | None = None,
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
        schedule: From how much of the training is done, in [0, 1), to what the loss is told of it: a pytree, of few
            different values or with tensors for what changes all the time (a GPU records an update for each value).
        **options: Further fields of the stage.
    """

    def draw(store: Store, generator: torch.Generator, progress: float) -> tuple[Any, Any]:
        sampler = training_sampler(store, training, way, shot)
        among = {} if preferred is None else {"preferred": preferred(generator)}
        now = (
            None
            if schedule is None
            else pytree.tree_map_only(Tensor, lambda each: each.to(store.device), schedule(progress))
        )
        return distributed.part(sampler.draw(training.tasks, generator, **among)), now

    return Stage(draw, lambda params, batch: loss(params, *batch), share, **options)


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
        sampler = training_sampler(store, training, way, shot)
        return distributed.part(prepare(sampler.draw(training.tasks, generator), generator))

    def loss(params: Params, prepared: Any) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = over_tasks(one)(params, prepared)
        return losses.mean(), {name: each.mean() for name, each in metrics.items()}

    return Stage(draw, loss, share)
