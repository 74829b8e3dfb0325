"""What the trainer asks of what it trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from metarl.meta_optimizers import Loss


@dataclass
class Batch:
    """What an algorithm collected for one update."""

    data: Any
    """Handed to `Algorithm.loss` as it is."""
    steps: int
    """Environment steps (or episodes, for images) it cost, of all ranks together."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers to log; a name without a slash becomes `rollout/name`."""


class Algorithm(Protocol):
    """What the trainer asks of an agent or a few-shot method."""

    module: nn.Module
    """Every meta-parameter, with running statistics as buffers: what a checkpoint holds."""

    def collect(self, rng: np.random.Generator) -> Batch:
        """Sample tasks, roll out or draw episodes; no gradient leaves.

        Args:
            rng: A fresh generator for this iteration, the same on every rank. Draw what concerns all tasks
                first, then work on `distributed.share(num_tasks)` of them. Torch's own generators are seeded
                alike.

        Raises:
            NonFinite: What acts is infinite or no number; training ends as diverged.
        """
        ...

    def loss(self, data: Any) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The meta-loss of a batch at the current parameters: a mean over this rank's tasks, and metrics.

        A metric without a slash becomes `train/name`. `kl` and `stop` have a meaning for the optimisers.
        """
        ...

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Judge the current parameters; a number without a slash becomes `eval/name`, averaged over ranks."""
        ...


class MetaOptimizer(Protocol):
    """What the trainer asks of an optimiser; see `metarl.meta_optimizers`."""

    def update(self, loss: Loss) -> dict[str, float]:
        """Change the parameters by what the loss says; returns metrics."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What it must remember to go on exactly."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        ...
