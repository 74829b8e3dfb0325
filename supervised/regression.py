"""Regression tasks: a function from a few of its points, drawn as tensor operations.

Legend: T tasks, K support points, Q query points.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

AMPLITUDES, PHASES, INPUTS = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)
"""Ranges of Finn et al. 2017, section 5.1."""
SPLITS = {"train": 1, "validation": 2, "test": 3}


class Regression(NamedTuple):
    """One task, or many with a leading axis T on every tensor."""

    support: Tensor
    """Inputs to learn from, shape (K, 1)."""
    support_targets: Tensor
    """The function's values there, shape (K, 1)."""
    query: Tensor
    """Inputs to be judged on, shape (Q, 1)."""
    query_targets: Tensor
    """The function's values there, shape (Q, 1)."""


class Sinusoids:
    """Sine waves, a task each: y = amplitude sin(x - phase) (Finn et al. 2017, section 5.1).

    Amplitude in [0.1, 5], phase in [0, pi] and x in [-5, 5] are uniform. Splits differ in the numbers that follow from
    a generator, so that equal seeds give other waves.

    Args:
        split: `train`, `validation` or `test`.
        device: Where the tasks lie.

    Attributes:
        image: Shape of an input, (1,).
        num_classes: 1, the size of an output.
    """

    def __init__(self, split: str, device: torch.device | str = "cpu"):
        self.split, self.device = split, torch.device(device)
        self.image, self.num_classes = (1,), 1

    def to(self, device: torch.device | str) -> "Sinusoids":
        """The same on another device."""
        return Sinusoids(self.split, device)


class RegressionSampler:
    """Draws tasks; what `EpisodeSampler` is for images.

    Args:
        waves: Where they come from.
        shot: K.
        query: Q.
    """

    def __init__(self, waves: Sinusoids, shot: int, query: int):
        self.waves, self.shot, self.query = waves, shot, query

    def draw(self, tasks: int, generator: torch.Generator) -> Regression:
        """Tasks with a leading axis T.

        Args:
            tasks: T.
            generator: On the CPU; equal states give equal tasks on every device.
        """
        seed = int(torch.randint(2**40, (), generator=generator))
        own = torch.Generator().manual_seed(4 * seed + SPLITS[self.waves.split])

        def uniform(span: tuple[float, float], *shape: int) -> Tensor:
            drawn = torch.rand(tasks, *shape, generator=own) * (span[1] - span[0]) + span[0]
            return drawn.to(self.waves.device)

        amplitude, phase = uniform(AMPLITUDES, 1, 1), uniform(PHASES, 1, 1)
        inputs = uniform(INPUTS, self.shot + self.query, 1)
        targets = amplitude * torch.sin(inputs - phase)
        support, query = slice(None, self.shot), slice(self.shot, None)
        return Regression(inputs[:, support], targets[:, support], inputs[:, query], targets[:, query])
