"""What the residual networks share: the slope of leaky ReLU, and how their filters start."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn import nonlinearity

SLOPE = 0.1
"""Of leaky ReLU for negative inputs."""


def residual_activation(name: str) -> Callable[[Tensor], Tensor]:
    """As `metarl.nn.nonlinearity`, but leaky ReLU has the slope of the papers on residual networks.

    Raises:
        ValueError: The name is unknown; the nearest known one is given.
    """
    return partial(F.leaky_relu, negative_slope=SLOPE) if name == "leaky_relu" else nonlinearity(name)


@torch.no_grad()
def start_filters(net: nn.Module, slope: float = 0.0) -> None:
    """Draw every convolution's filters from a normal distribution under which gradients keep their size (He et al. 2015).

    Args:
        net: Holds the convolutions.
        slope: Of the nonlinearity for negative inputs.
    """
    for each in net.modules():
        if isinstance(each, nn.Conv2d):
            fan_out = each.out_channels * each.kernel_size[0] * each.kernel_size[1]
            each.weight.normal_(0, math.sqrt(2 / ((1 + slope**2) * fan_out)))
