"""What a few-shot method is: its parameters, and a pure function of one episode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics

Params = Mapping[str, Tensor]


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


@dataclass(frozen=True)
class Method:
    """A few-shot method.

    Attributes:
        module: Holds every parameter; buffers are running averages.
        task: `task(params, episode, statistics)` -> loss (a scalar) and class scores (W Q, W) of ONE episode, the
            softmax of which are probabilities. Pure; batched over tasks by its caller.
        stages: What is trained on before (in order); empty for methods that train on episodes only.
        embeds: Whether the task looks at images through `normalisation.embed` and in no other way. Features that are
            known already may then stand in for images in judging, which is many times as fast.
    """

    module: nn.Module
    task: Callable[[Params, Episode, Statistics], tuple[Tensor, Tensor]]
    stages: tuple[Stage, ...] = ()
    embeds: bool = False
