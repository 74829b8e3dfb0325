"""Batch normalisation by a batch's own moments, with derivatives of every order in few operations.

Value and gradient are PyTorch's own fused kernels, and the gradient's derivative is written out: a GPU waits for every
operation, and second derivatives that are composed of primitives take many more. Under vmap the channels of all tasks
stand side by side, as they lie in memory after a grouped convolution.

Legend: N images, C channels, H and W height and width, M = N H W numbers of a channel, T tasks.
"""

from functools import partial

import torch
from torch import Tensor
from torch.autograd import Function

from metarl.transforms import joined, parted, tasks_first

aten = torch.ops.aten


def normalised(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Channel by channel weight (x - mean) / sqrt(variance + eps) + bias.

    Args:
        x: (N, C, ...).
        weight: (C,).
        bias: (C,).
        eps: Added to the (biased) variance.
    """
    return _Normalised.apply(x, weight, bias, eps)[0]


def _together(function: type[Function], info, in_dims, *inputs):
    """One of the functions below for many tasks at once: a vmap rule.

    Images of all tasks are joined, and what there is for each channel stands one after the other.
    """
    *tensors, eps = inputs
    whole = tasks_first(info, in_dims, *tensors)
    found = function.apply(*(joined(each) if each.dim() > 2 else each.flatten() for each in whole), eps)
    tasks = info.batch_size
    apart = (parted(each, tasks) if each.dim() > 1 else each.unflatten(0, (tasks, -1)) for each in found)
    return tuple(apart), (0,) * len(found)


class _Normalised(Function):
    """(y, mean, 1 / sqrt(variance + eps)); the moments are for the gradient, which knows that they follow from x."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float):
        return aten.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, ctx.eps = inputs
        _, mean, scale = output
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, mean, scale)

    @staticmethod
    def backward(ctx, grad: Tensor | None, *_):
        if grad is None:
            return None, None, None, None
        return *_Gradient.apply(grad, *ctx.saved_tensors, ctx.eps), None

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return _together(_Normalised, info, in_dims, *inputs)


class _Gradient(Function):
    """Gradients by x, weight and bias: linear in the outer gradient."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float):
        mask = [True, True, True]
        return aten.native_batch_norm_backward(grad, x, weight, None, None, mean, scale, True, eps, mask)

    @staticmethod
    def setup_context(ctx, inputs, output):
        grad, x, weight, _, _, ctx.eps = inputs
        ctx.save_for_backward(grad, x, weight)

    @staticmethod
    def backward(ctx, *outer: Tensor):
        return *_SecondGradient.apply(*outer, *ctx.saved_tensors, ctx.eps), None, None, None

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return _together(_Gradient, info, in_dims, *inputs)


class _SecondGradient(Function):
    """Derivatives of `_Gradient` by the outer gradient, x and weight."""

    @staticmethod
    def forward(*tensors):
        return second_gradient(*tensors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.eps = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *outer: Tensor):
        pull = torch.func.vjp(partial(second_gradient, eps=ctx.eps), *ctx.saved_tensors)[1]
        return *pull(outer), None

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return _together(_SecondGradient, info, in_dims, *inputs)


def second_gradient(
    by_x: Tensor, by_weight: Tensor, by_bias: Tensor, grad: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of <u, gradient by x> + <v, gradient by weight> + <w, gradient by bias>.

    With n the normalised x, s = 1 / sqrt(variance + eps), and P(g) = g - mean(g) - n mean(g n), means over the M numbers
    of a channel: the gradient by x is weight s P(g), that by weight the sum of g n, that by bias the sum of g.

    Args:
        by_x: u, (N, C, ...).
        by_weight: v, (C,).
        by_bias: w, (C,).
        grad: g, the outer gradient, (N, C, ...).
        x: (N, C, ...).
        weight: (C,).
        eps: Added to the variance.

    Returns:
        Derivatives by g, x and weight.
    """
    dims, shape = (0, *range(2, x.dim())), (-1, *(1,) * (x.dim() - 2))
    variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    s = (variance + eps).rsqrt()
    n = (x - mean) * s

    def projected(y: Tensor) -> tuple[Tensor, Tensor]:
        slope = (y * n).mean(dims, keepdim=True)
        return torch.addcmul(y - y.mean(dims, keepdim=True), n, slope, value=-1), slope

    (u, of_u), (g, of_g), v = projected(by_x), projected(grad), by_weight.view(shape)
    scale = weight.view(shape) * s
    product = (by_x * g).mean(dims, keepdim=True)
    by_grad = torch.addcmul(torch.addcmul(by_bias.view(shape), n, v), u, scale)
    curved = torch.addcmul(of_g * u, n, product)
    found = torch.addcmul(g * (s * torch.addcmul(v, scale, of_u, value=-1)), curved, scale * s, value=-1)
    return by_grad, found, (s * product).flatten() * (x.numel() // x.shape[1])
