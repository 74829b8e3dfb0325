"""Nonlinearities by name."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.names import unknown


def identity(x: Tensor) -> Tensor:
    """The input."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": F.elu,
    "silu": F.silu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "identity": identity,
}


def nonlinearity(name: str) -> Callable[[Tensor], Tensor]:
    """The function of that name; ValueError with the nearest name for one that is not known."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
