"""What a few-shot method is: its parameters, and a pure function of one episode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metarl.supervised.class_store import ClassStore
from metarl.supervised.methods.config import EpisodicTraining, Statistics

Params = Mapping[str, Tensor]
Task = Callable[[Params, Any, Statistics], tuple[Tensor, Tensor]]
"""`task(params, episode, statistics)` -> loss and scores of ONE task: an `Episode` of images, or a `Regression`."""


@dataclass(frozen=True)
class Stage:
    """A part of the training that does not use plain episodes, such as pre-training on all classes."""

    draw: Callable[[ClassStore, torch.Generator, float], Any]
    """A batch of training data: any pytree on the store's device. The last argument is how much of the training is done,
    in [0, 1)."""
    loss: Callable[[Params, Any], tuple[Tensor, dict[str, Tensor]]]
    """Mean loss of the batch, and metrics."""
    share: float = 1.0
    """Part of the training's updates; what is left of 1 after all stages goes to plain episodes."""
    optimizer: EpisodicTraining | None = None
    """Its own outer optimiser, step sizes (milestones are shares of the stage) and bounds; unset, the training's, which
    goes on through all stages that have none of their own."""
    trains: tuple[str, ...] = ("*",)
    """With an optimiser of its own: name patterns of the parameters that it changes."""


@dataclass(frozen=True)
class Method:
    """A few-shot method.

    Attributes:
        module: Holds every parameter; buffers are running averages.
        task: `task(params, episode, statistics)` -> loss (a scalar) and class scores (W Q, W) of ONE episode, the
            softmax of which are probabilities; of a regression, predictions (Q, 1). Pure; batched over tasks by its
            caller.
        stages: What is trained on before (in order); empty for methods that train on episodes only.
        test: What stands for `task` in validation, testing and prediction, if that is another: more inner steps, say,
            or means in place of samples.
        embeds: Whether the task looks at images through `normalisation.embed` and in no other way. Features that are
            known already may then stand in for images in judging, which is many times as fast.
        needs_start: Why it is of no use to train it from fresh parameters, and what to do; empty where it is of use.
        backbone: Where the network from images to features is not `net.*` as it stands: from all params to those with
            `net.*` as they are used.
        started: What else to do in place once `net.*` were taken from another run.
    """

    module: nn.Module
    task: Task
    stages: tuple[Stage, ...] = ()
    test: Task | None = None
    embeds: bool = False
    needs_start: str = ""
    backbone: Callable[[Params], Params] | None = None
    started: Callable[[], None] | None = None

    @property
    def tested(self) -> Task:
        """The task as validation, testing and prediction have it."""
        return self.test or self.task
