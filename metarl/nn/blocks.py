"""Norms, pooling and the convolution block of few-shot backbones, exact under vmap and second derivatives.

PyTorch's fused norms lose part of their second derivative under `torch.func.vmap`, silently. The norms here
are written from primitive operations, or with derivatives of their own.

Legend: N images, C channels, H and W height and width.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.names import unknown
from metarl.nn.activations import nonlinearity
from metarl.nn.convolution import conv2d
from metarl.nn.pooling import has_fast_path, max_pool, max_pool_with_moments, moments


def _standardise(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Zero mean and unit (biased) variance over `dims`."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


class BatchNorm(nn.Module):
    """Batch norm by the statistics of the batch at hand, without running averages (Ioffe, Szegedy 2015).

    A query batch is thus normalised by its own statistics: results are transductive, and should be reported
    so.

    Args:
        channels: C, the size of axis 1.
        eps: Added to the variance.
        affine: Whether to learn a scale and a shift.
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, ...) to the same shape."""
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"expected shape (N, {self.channels}, ...), got {tuple(x.shape)}")
        if has_fast_path(x):
            return _normalised(x, *moments(x), self)
        x = _standardise(x, (0, *range(2, x.dim())), self.eps)
        return _affine(x, self.weight, self.bias)

    def then_max_pool(self, x: Tensor) -> Tensor:
        """`max_pool(self(x))`, with most of the norm's work done after the pooling: (N, C, H, W) halved."""
        if not has_fast_path(x):
            return max_pool(self(x))
        if self.weight is None or not (self.weight < 0).any():
            return _normalised(*max_pool_with_moments(x), self)
        # Under a negative scale the largest output comes from the smallest input: turn those channels round.
        sign = torch.where(self.weight < 0, -1.0, 1.0).to(x.dtype)
        return _normalised(*max_pool_with_moments(x * sign.view(-1, 1, 1)), self, sign)


def _normalised(
    x: Tensor, mean: Tensor, variance: Tensor, norm: BatchNorm, sign: Tensor | None = None
) -> Tensor:
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * (norm.weight if sign is None else norm.weight * sign)
    shift = -mean * scale if norm.bias is None else torch.addcmul(norm.bias, mean, scale, value=-1)
    return torch.addcmul(shift.view(-1, 1, 1), x, scale.view(-1, 1, 1))


class GroupNorm(nn.Module):
    """Group norm (Wu and He 2018), each image by itself; `groups=1` is layer norm over an image."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5):
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels must be a multiple of groups, got {channels} and {groups}")
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, ...) to the same shape."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        return _affine(_standardise(grouped, (2,), self.eps).reshape(x.shape), self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer norm over the last axes (Ba et al. 2016).

    Args:
        shape: Sizes of the last axes, or of the last one.
        eps: Added to the variance.
    """

    def __init__(self, shape: int | Sequence[int], eps: float = 1e-5):
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., *shape) to the same shape."""
        if tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ValueError(f"layer norm over {self.shape} got {tuple(x.shape)}")
        return _standardise(x, tuple(range(-len(self.shape), 0)), self.eps) * self.weight + self.bias


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1,) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


class MaxPool2d(nn.Module):
    """Max-pooling over 2x2 windows without overlap; an odd last row or column is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, H // 2, W // 2)."""
        return max_pool(x)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "layer": lambda channels: GroupNorm(1, channels),
    "group": lambda channels: GroupNorm(math.gcd(8, channels), channels),
    "none": lambda channels: nn.Identity(),
}


class ConvBlock(nn.Module):
    """3x3 convolution, norm, nonlinearity and halving of the image: the brick of few-shot backbones.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: "batch" (by the batch at hand; the convolution then has no bias, which the norm would take away
            again), "layer", "group" or "none".
        halve: "pool" (2x2 max-pooling), "stride" (a convolution of stride 2, no pooling) or "none".
        act: Name of the nonlinearity.
    """

    def __init__(
        self, inputs: int, outputs: int, norm: str = "batch", halve: str = "pool", act: str = "relu"
    ):
        super().__init__()
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        if halve not in ("pool", "stride", "none"):
            raise unknown("way to halve the image", halve, ("pool", "stride", "none"))
        stride, bias = 2 if halve == "stride" else 1, norm != "batch"
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.norm = NORMS[norm](outputs)
        self.halve = halve
        self.act = nonlinearity(act)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H', W')."""
        norm = self.norm
        x = conv2d(x, self.conv.weight, self.conv.bias, 2 if self.halve == "stride" else 1, padding=1)
        rising = self.act is not F.silu
        if isinstance(norm, BatchNorm) and rising and self.halve == "pool":
            return self.act(norm.then_max_pool(x))
        x = norm(x)
        if self.halve != "pool":
            return self.act(x)
        # The maximum commutes with a function that rises: pool first, for a quarter of the work.
        return self.act(max_pool(x)) if rising else max_pool(self.act(x))
