"""Perceptrons and LSTM cells whose weights may have leading task axes.

Legend: B a batch, D features.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn.activations import nonlinearity


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
    """

    def __init__(self, sizes: Sequence[int], activation: str = "tanh"):
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes need at least an input and an output size, got {tuple(sizes)}")
        self.between = nonlinearity(activation)
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))

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
    gates = linear(x, params[f"{prefix}weight_ih"], params[f"{prefix}bias"])
    return _through_gates(gates, state, params[f"{prefix}weight_hh"])


def lstm(
    params: Mapping[str, Tensor], x: Tensor, state: tuple[Tensor, Tensor], prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """Many steps of `lstm_cell`, with the products of all inputs made at once.

    Args:
        params: As for `lstm_cell`, without task axes (vmap over tasks).
        x: Inputs, shape (H, B, in), step by step.
        state: Hidden and cell state before the first step, each (B, hidden).
        prefix: What the names start with.

    Returns:
        Hidden and cell state after every step, each (H, B, hidden).
    """
    after = []
    for gates in linear(x, params[f"{prefix}weight_ih"], params[f"{prefix}bias"]).unbind(0):
        state = _through_gates(gates, state, params[f"{prefix}weight_hh"])
        after.append(state)
    hidden, cell = zip(*after, strict=True)
    return torch.stack(hidden), torch.stack(cell)


def _through_gates(gates: Tensor, state: tuple[Tensor, Tensor], weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    hidden, cell = state
    gates = gates + linear(hidden, weight_hh)
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class LSTMCell(nn.Module):
    """An LSTM cell of plain operations, since `nn.LSTM` and `nn.LSTMCell` have no batching rule under vmap.

    Args:
        input_size: D of the inputs.
        hidden_size: Size of the hidden and of the cell state.
        forget_bias: Where the forget gate's bias starts; 1 lets the cell remember from the beginning.
    """

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 0.0):
        super().__init__()
        self.hidden_size = hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] = forget_bias

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """As `lstm_cell`; without a state it starts from zeros."""
        if state is None:
            zeros = x.new_zeros(*x.shape[:-1], self.hidden_size)
            state = (zeros, zeros)
        return lstm_cell(dict(self.named_parameters()), x, state)
