"""Max-pooling over 2x2 windows, and the moments that batch norm needs, with cheap derivatives of every order.

On a CPU in plain code everything works on images whose channels are last in memory, seen as rows (N, HW, C).
The gradient of the maxima is then a scatter, and the gradient of mean and variance one fused pass.

Legend: N images, C channels, H and W height and width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from metarl.transforms import inside_transform

LAST = torch.channels_last


def has_fast_path(x: Tensor) -> bool:
    """Whether images `x` can take the hand-written road: plain code on a CPU, no torch.func transform."""
    return x.dim() == 4 and x.device.type == "cpu" and not inside_transform()


def max_pool(x: Tensor) -> Tensor:
    """Max-pooling over 2x2 windows without overlap; an odd last row or column is dropped.

    Args:
        x: Shape (C, H, W) or (N, C, H, W), H and W at least 2.

    Returns:
        Shape (C, H // 2, W // 2) or (N, C, H // 2, W // 2).

    Raises:
        ValueError: The image is smaller than a window.
    """
    _check(x)
    if has_fast_path(x):
        return _Pool.apply(x.contiguous(memory_format=LAST))
    return F.max_pool2d(x, 2)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of images (N, C, H, W), (C,) each; see `has_fast_path`."""
    return _Moments.apply(x.contiguous(memory_format=LAST))


def max_pool_with_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`max_pool(x)` and `moments(x)` with one gradient pass between them; see `has_fast_path`."""
    _check(x)
    return _PoolWithMoments.apply(x.contiguous(memory_format=LAST))


def _check(x: Tensor) -> None:
    if x.dim() < 3 or x.shape[-1] < 2 or x.shape[-2] < 2:
        raise ValueError(f"2x2 pooling needs images of at least 2x2, got shape {tuple(x.shape)}")


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, HW, C); a view where the channels are last in memory."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])


def _images(rows: Tensor, like: torch.Size) -> Tensor:
    return rows.view(like[0], like[2], like[3], like[1]).permute(0, 3, 1, 2)


def _pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima, and where they lie among the rows of `x`."""
    maxima, where = F.max_pool2d(x, 2, return_indices=True)
    return maxima, _rows(where)


def _mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)


def _by_moments(x: Tensor, mean: Tensor, by_mean: Tensor, by_variance: Tensor) -> Tensor:
    """Gradient of the rows of x: by_mean / M + by_variance * 2 (x - mean) / M, in one pass."""
    slope = by_variance * (2 * x.shape[1] / x.numel())
    level = by_mean * (x.shape[1] / x.numel()) - slope * mean
    return torch.addcmul(level, _rows(x), slope)


class _Pool(Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        maxima, where = _pooled(x)
        ctx.save_for_backward(where)
        ctx.shape = x.shape
        return maxima

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (where,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        rows = grad.new_zeros(n, h * w, c).scatter_add_(1, where, _rows(grad))
        return _images(rows, ctx.shape)


class _Moments(Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = _mean_and_variance(x)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx, by_mean: Tensor, by_variance: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        return _images(_by_moments(x, mean, by_mean, by_variance), x.shape)


class _PoolWithMoments(Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maxima, where = _pooled(x)
        mean, variance = _mean_and_variance(x)
        ctx.save_for_backward(x, where, mean)
        return maxima, mean, variance

    @staticmethod
    def backward(ctx, grad: Tensor, by_mean: Tensor, by_variance: Tensor) -> Tensor:
        x, where, mean = ctx.saved_tensors
        rows = _by_moments(x, mean, by_mean, by_variance)
        return _images(rows.scatter_add_(1, where, _rows(grad)), x.shape)
