"""Convolution whose derivatives of every order are convolutions of the same cost.

A convolution is linear in the image and in the filters, so three maps are closed under differentiation: the
convolution, its gradient by the image and its gradient by the filters. PyTorch's own double backward takes
other roads, some of them slow. Images are kept with the channels last in memory, which is a third faster on a CPU, and
saves a GPU's matrix units two transpositions. Under vmap every task is a group of one grouped convolution, where tasks
have filters of their own.

Legend: N images, C channels in, O channels out, H and W height and width, T tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from metarl.transforms import inside_transform, joined, parted, tasks_first

LAST = torch.channels_last
aten = torch.ops.aten

_low: list[bool] = []
"""Whether convolutions multiply in bfloat16; the last entry counts, none means no."""


@contextmanager
def low_precision(wanted: bool = True) -> Iterator[None]:
    """While it lasts, convolutions of several float32 channels multiply in bfloat16, in every thread.

    Products are added up in float32, and what comes out is float32 again, as is everything but convolutions: the mixed
    precision of Micikevicius et al. 2018, without their scaling of the loss, which bfloat16 does not need. Gradients of
    such a convolution are in bfloat16, too, wherever they are computed.

    Args:
        wanted: False: float32 again.
    """
    _low.append(wanted)
    try:
        yield
    finally:
        _low.pop()


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """A convolution with square strides and paddings.

    Args:
        x: Images (N, C, H, W).
        weight: Filters (O, C, h, w).
        bias: (O,), or None.
        stride: Step of the window, in pixels.
        padding: Zeros added on each side, in pixels.

    Returns:
        (N, O, H', W'), outside transforms with the channels last in memory; see also `low_precision`.
    """
    if _low and _low[-1] and x.dtype == torch.float32 and weight.shape[1] > 1:
        y = _convolved(x.bfloat16(), weight.bfloat16(), None, stride, padding).float()
        return y if bias is None else y + bias.view(-1, 1, 1)
    return _convolved(x, weight, bias, stride, padding)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    if inside_transform():
        y = _Convolution.apply(x, weight, stride, padding)
    elif x.device.type != "cpu":
        return F.conv2d(x.contiguous(memory_format=LAST), weight, bias, stride, padding)
    elif weight.shape[1] == 1 and not x.requires_grad:
        return _of_one_channel(x, weight, bias, stride, padding)
    else:
        y = _Convolution.apply(x.contiguous(memory_format=LAST), weight, stride, padding)
    return y if bias is None else y + bias.view(-1, 1, 1)


def _of_one_channel(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """One matrix product over windows: a convolution of a single channel is slow otherwise."""
    height, width = weight.shape[2:]
    windows = F.pad(x[:, 0], (padding,) * 4).unfold(1, height, stride).unfold(2, width, stride)
    n, rows, columns = windows.shape[:3]
    windows = windows.reshape(n * rows * columns, height * width)
    filters = weight.flatten(1).T.contiguous()  # a transposed view's gradient is 14 times as slow
    y = windows @ filters if bias is None else torch.addmm(bias, windows, filters)
    return y.view(n, rows, columns, -1).permute(0, 3, 1, 2)


def _product(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int = 1) -> Tensor:
    return aten.convolution(x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, mask: list[bool], groups: int = 1
):
    sizes = [stride] * 2, [padding] * 2, [1, 1]
    return aten.convolution_backward(grad, x, weight, None, *sizes, False, [0, 0], groups, mask)


class _Convolution(Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return _product(x, weight, stride, padding)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, *ctx.sizes = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        by_x = _ByImage.apply(grad, weight, x.shape, *ctx.sizes) if ctx.needs_input_grad[0] else None
        by_weight = _ByFilters.apply(grad, x, weight.shape, *ctx.sizes) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, None, None

    @staticmethod
    def vmap(info, in_dims, x: Tensor, weight: Tensor, stride: int, padding: int):
        if in_dims[1] is None:  # filters of all tasks: their images are one batch
            y = _Convolution.apply(x.movedim(in_dims[0], 0).flatten(0, 1), weight, stride, padding)
            return y.unflatten(0, (info.batch_size, -1)), 0
        x, weight = tasks_first(info, in_dims, x, weight)
        y = _product(joined(x), weight.flatten(0, 1), stride, padding, info.batch_size)
        return parted(y, info.batch_size), 0


class _ByImage(Function):
    """The gradient of a convolution by its image: linear in the outer gradient and in the filters."""

    @staticmethod
    def forward(grad: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
        like = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=LAST)
        grad = grad.contiguous(memory_format=LAST)
        return _gradients(grad, like, weight, stride, padding, [True, False, False])[0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        grad, weight, _, *ctx.sizes = inputs
        ctx.save_for_backward(grad, weight)

    @staticmethod
    def backward(ctx, outer: Tensor):
        grad, weight = ctx.saved_tensors
        by_grad = _Convolution.apply(outer, weight, *ctx.sizes) if ctx.needs_input_grad[0] else None
        by_weight = (
            _ByFilters.apply(grad, outer, weight.shape, *ctx.sizes) if ctx.needs_input_grad[1] else None
        )
        return by_grad, by_weight, None, None, None

    @staticmethod
    def vmap(info, in_dims, grad: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int):
        tasks, (images, *rest) = info.batch_size, shape
        if in_dims[1] is None:
            grad = grad.movedim(in_dims[0], 0).flatten(0, 1)
            x = _ByImage.apply(grad, weight, (tasks * images, *rest), stride, padding)
            return x.unflatten(0, (tasks, images)), 0
        grad, weight = tasks_first(info, in_dims, grad, weight)
        like = grad.new_empty(images, tasks * rest[0], *rest[1:])
        mask = [True, False, False]
        x = _gradients(joined(grad), like, weight.flatten(0, 1), stride, padding, mask, tasks)[0]
        return parted(x, tasks), 0


class _ByFilters(Function):
    """The gradient of a convolution by its filters: linear in the outer gradient and in the image."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
        grad, like = grad.contiguous(memory_format=LAST), x.new_empty(shape)
        return _gradients(grad, x, like, stride, padding, [False, True, False])[1]

    @staticmethod
    def setup_context(ctx, inputs, output):
        grad, x, _, *ctx.sizes = inputs
        ctx.save_for_backward(grad, x)

    @staticmethod
    def backward(ctx, outer: Tensor):
        grad, x = ctx.saved_tensors
        by_grad = _Convolution.apply(x, outer, *ctx.sizes) if ctx.needs_input_grad[0] else None
        by_x = _ByImage.apply(grad, outer, x.shape, *ctx.sizes) if ctx.needs_input_grad[1] else None
        return by_grad, by_x, None, None, None

    @staticmethod
    def vmap(info, in_dims, grad: Tensor, x: Tensor, shape: torch.Size, stride: int, padding: int):
        tasks = info.batch_size
        grad, x = tasks_first(info, in_dims, grad, x)
        like = x.new_empty(tasks * shape[0], *shape[1:])
        mask = [False, True, False]
        weight = _gradients(joined(grad), joined(x), like, stride, padding, mask, tasks)[1]
        return weight.unflatten(0, (tasks, -1)), 0
