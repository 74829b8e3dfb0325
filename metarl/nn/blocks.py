"""Pooling and the convolution block of few-shot backbones, exact under vmap and second derivatives.

Legend: N images, C channels, H and W height and width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from metarl.names import unknown
from metarl.nn.activations import nonlinearity
from metarl.nn.convolution import conv2d
from metarl.nn.norms import NORMS, BatchNorm, BatchStatistics, GroupNorm, LayerNorm, norm_layer, normalise
from metarl.nn.pooling import max_pool

__all__ = ["NORMS", "BatchNorm", "ConvBlock", "Film", "GroupNorm", "LayerNorm", "MaxPool2d", "modulate"]

Film = tuple[Tensor, Tensor]
"""Scale and shift of every channel, (C,) each, from elsewhere: feature-wise linear modulation (Perez et al. 2018)."""


def modulate(x: Tensor, film: Film | None) -> Tensor:
    """Images (N, C, H, W) times the scale plus the shift; unchanged where there is no film."""
    return x if film is None else x * film[0].view(-1, 1, 1) + film[1].view(-1, 1, 1)


class MaxPool2d(nn.Module):
    """Max-pooling over 2x2 windows without overlap; an odd last row or column is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, H // 2, W // 2)."""
        return max_pool(x)


class ConvBlock(nn.Module):
    """3x3 convolution, norm, nonlinearity and halving of the image: the brick of few-shot backbones.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: "batch" (the convolution then has no bias, which the norm would take away again), "layer",
            "group" or "none".
        halve: "pool" (2x2 max-pooling), "stride" (a convolution of stride 2, no pooling) or "none".
        act: Name of the nonlinearity.
        padding: Zeros on each side of the convolution's input.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: str = "batch",
        halve: str = "pool",
        act: str = "relu",
        padding: int = 1,
    ):
        super().__init__()
        if halve not in ("pool", "stride", "none"):
            raise unknown("way to halve the image", halve, ("pool", "stride", "none"))
        self.stride, self.padding, self.halve = 2 if halve == "stride" else 1, padding, halve
        self.conv = nn.Conv2d(inputs, outputs, 3, self.stride, padding, bias=norm != "batch")
        self.norm = norm_layer(norm, outputs)
        self.act = nonlinearity(act)

    def forward(
        self,
        x: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Film | None = None,
    ) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H', W').

        Args:
            x: Images.
            statistics: See `BatchNorm.forward`.
            support: See `BatchNorm.forward`.
            film: Applied before the nonlinearity, and after the pooling where the nonlinearity rises.
        """
        norm = self.norm
        x = conv2d(x, self.conv.weight, self.conv.bias, self.stride, self.padding)
        rising = self.act is not F.silu
        if isinstance(norm, BatchNorm) and rising and self.halve == "pool":
            return self.act(modulate(norm.then_max_pool(x, statistics, support), film))
        x = normalise(norm, x, statistics, support)
        if self.halve != "pool":
            return self.act(modulate(x, film))
        # The maximum commutes with a function that rises: pool first, for a quarter of the work.
        return self.act(modulate(max_pool(x), film)) if rising else max_pool(self.act(modulate(x, film)))
