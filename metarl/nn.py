"""Layers that stay exact under vmap and under second derivatives.

PyTorch's fused norms lose part of their second derivative under `torch.func.vmap`, without an error (their
batched backward uses saved statistics that carry no history). The norms here are written from primitive
operations instead, and `refuse_fused_norms` finds the others.

Legend: N images, C channels, H and W height and width, B a batch, D features.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.names import unknown
from metarl.pooling import max_pool
from metarl.transforms import refuse_fused_norms, stateless

__all__ = [
    "MLP",
    "BatchNorm",
    "ConvBlock",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "linear",
    "lstm_cell",
    "mlp",
    "nonlinearity",
    "refuse_fused_norms",
    "stateless",
]


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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer whose weights may have leading task axes.

    Args:
        x: Inputs, shape (..., B, in); without task axes on the weight also (in,).
        weight: Shape (..., out, in).
        bias: Shape (..., out), or None.

    Returns:
        Shape (..., B, out), leading axes broadcast: one batched matrix product.
    """
    if weight.dim() == 2 and (bias is None or bias.dim() == 1):
        return F.linear(x, weight, bias)
    if x.dim() < 2:
        raise ValueError(f"with task axes on the weight, x needs shape (..., B, in), got {tuple(x.shape)}")
    if bias is None:
        return x @ weight.mT
    if x.dim() == 3 and weight.dim() == 3 and x.shape[0] == weight.shape[0]:
        return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)
    return x @ weight.mT + bias.unsqueeze(-2)


def mlp(params: Mapping[str, Tensor], x: Tensor, activation: str = "tanh", prefix: str = "") -> Tensor:
    """The perceptron of `MLP`, as a pure function.

    Args:
        params: Holds `{prefix}layers.{i}.weight` and `.bias`, each perhaps with leading task axes.
        x: Shape (..., B, in).
        activation: Name of the nonlinearity between layers.
        prefix: What the names start with, for example "policy.network.".

    Returns:
        Shape (..., B, out).

    Raises:
        ValueError: There is no layer under that prefix.
    """
    between = nonlinearity(activation)
    depth = 0
    while f"{prefix}layers.{depth}.weight" in params:
        depth += 1
    if depth == 0:
        raise ValueError(f"params hold no '{prefix}layers.0.weight': got {list(params)[:8]}")
    for i in range(depth):
        x = linear(x, params[f"{prefix}layers.{i}.weight"], params.get(f"{prefix}layers.{i}.bias"))
        if i < depth - 1:
            x = between(x)
    return x


class Linear(nn.Linear):
    """`nn.Linear` whose weights may be swapped for ones with leading task axes."""

    def forward(self, x: Tensor) -> Tensor:
        """As `linear`."""
        return linear(x, self.weight, self.bias)


class MLP(nn.Module):
    """A perceptron that also runs many tasks at once.

    With `torch.func.functional_call`, weights of shape (T, out, in) and biases (T, out) act on inputs (T, B,
    in).

    Args:
        sizes: Input, hidden and output sizes.
        activation: Name of the nonlinearity between layers (none after the last).
        gains: One gain per layer: orthogonal weights, zero biases. None: the default of `nn.Linear`.
        generator: Where orthogonal weights draw from; None: torch's own.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "tanh",
        gains: Sequence[float] | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes need at least an input and an output size, got {tuple(sizes)}")
        if gains is not None and len(gains) != len(sizes) - 1:
            raise ValueError(f"gains need one value per layer, {len(sizes) - 1}, got {len(gains)}")
        self.between = nonlinearity(activation)
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        for layer, gain in zip(self.layers, gains or (), strict=False):
            nn.init.orthogonal_(layer.weight, gain, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., B, in) to (..., B, out)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.between(layer(x))
        return last(x)


def lstm_cell(
    params: Mapping[str, Tensor], x: Tensor, state: tuple[Tensor, Tensor], prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM with a forget gate (Gers et al. 2000); gates in the order i, f, g, o.

    Args:
        params: Holds `{prefix}weight_ih` (..., 4 hidden, in), `weight_hh` (..., 4 hidden, hidden), `bias`
            (..., 4 hidden).
        x: Inputs, shape (..., B, in).
        state: Hidden and cell state, each (..., B, hidden).
        prefix: What the names start with.

    Returns:
        The next hidden and cell state.
    """
    hidden, cell = state
    gates = linear(x, params[f"{prefix}weight_ih"], params[f"{prefix}bias"])
    gates = gates + linear(hidden, params[f"{prefix}weight_hh"])
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class LSTMCell(nn.Module):
    """An LSTM cell of plain operations, since `nn.LSTM` and `nn.LSTMCell` have no batching rule under vmap.

    Args:
        input_size: D of the inputs.
        hidden_size: Size of the hidden and of the cell state.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """As `lstm_cell`; without a state it starts from zeros."""
        if state is None:
            zeros = x.new_zeros(*x.shape[:-1], self.hidden_size)
            state = (zeros, zeros)
        return lstm_cell(dict(self.named_parameters()), x, state)


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
        x = _standardise(x, (0, *range(2, x.dim())), self.eps)
        return x if self.weight is None else _affine(x, self.weight, self.bias)


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


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (x.dim() - 2)
    return x * weight.view(shape) + bias.view(shape)


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
        norm: "batch" (by the batch at hand), "layer", "group" or "none".
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
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2 if halve == "stride" else 1, padding=1)
        self.norm = NORMS[norm](outputs)
        self.halve = halve
        self.act = nonlinearity(act)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H', W')."""
        x = self.norm(self.conv(x))
        if self.halve != "pool":
            return self.act(x)
        # The maximum commutes with a function that rises: pool first, for a quarter of the work.
        return max_pool(self.act(x)) if self.act is F.silu else self.act(max_pool(x))
