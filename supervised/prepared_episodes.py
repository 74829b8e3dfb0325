"""Training on episodes to which something is done, or to which something random belongs, as a stage of a method."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarl import distributed
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Params, Stage
from metarl.supervised.task_kinds import Store, sampler_of
from metarl.tasks import over_tasks


def prepared_stage(
    training: EpisodicTraining,
    way: int,
    shot: int,
    prepare: Callable[[Any, torch.Generator], Any],
    one: Callable[[Params, Any], tuple[Tensor, dict[str, Tensor]]],
) -> Stage:
    """The whole training, on episodes that were prepared.

    Args:
        training: Ways, shots, queries and tasks of an update.
        way: Classes of an episode, unless the training says otherwise.
        shot: Support images of each class, likewise.
        prepare: Makes of episodes with a leading axis T what the loss is given, a pytree with the same axis. Noise
            belongs here, from the generator (on the CPU), so that it does not depend on how tasks are batched.
        one: Loss of ONE prepared task, and metrics.
    """

    def draw(store: Store, generator: torch.Generator, done: float) -> Any:
        sampler = sampler_of(store, training.way or way, training.shot or shot, training.query)
        episodes = sampler.draw(len(distributed.share(training.tasks)), generator)
        return prepare(episodes, generator)

    def loss(params: Params, prepared: Any) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = over_tasks(one)(params, prepared)
        return losses.mean(), {name: each.mean() for name, each in metrics.items()}

    return Stage(draw, loss)
