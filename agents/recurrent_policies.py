"""Networks with a memory: the body of a recurrent policy and of its value network, and how it is trained.

Truncated back-propagation through time: a trajectory is cut into chunks of `unroll` steps, and each chunk starts from
what the network remembered there when it was run, a constant. All chunks of all trajectories are then run side by
side, so that a loss on long trajectories takes only `unroll` steps one after the other.

A memory is one tensor (..., M): hidden and cell state of the LSTM, one after the other, M = 2 units.

Legend: B trajectories, H time steps, N chunks of a trajectory, U steps of a chunk, C = B N chunks, D inputs, M memory.
"""

import torch
from torch import Tensor, nn

from metarl.nn import Linear, LSTMCell, lstm


class RecurrentNetwork(nn.Module):
    """A fully connected layer with ReLU, an LSTM, and a linear head (Al-Shedivat et al. 2018, appendix B).

    Args:
        inputs: D.
        hidden: Units of the layer and of the LSTM.
        outputs: Size of the output.
        unroll: Steps of a chunk.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int, unroll: int):
        super().__init__()
        units, cells = hidden
        self.unroll = unroll
        self.embedding = Linear(inputs, units)
        self.cell = LSTMCell(units, cells, forget_bias=1.0)
        self.head = Linear(cells, outputs)

    def initial_memory(self, *shape: int) -> Tensor:
        """Nothing remembered: zeros, shape (*shape, M)."""
        return self.head.weight.new_zeros(*shape, 2 * self.cell.hidden_size)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step, or many.

        Args:
            x: One step's inputs (..., B, D), leading axes as the parameters have them; or those of many steps
                (H, B, D), for parameters without leading axes.
            memory: Before the first step, shape (..., B, M).

        Returns:
            Outputs, (..., B, outputs) or (H, B, outputs), and the memory after each step, likewise.
        """
        embedded = torch.relu(self.embedding(x))
        state = memory.chunk(2, dim=-1)
        if x.dim() == memory.dim():
            hidden, cell = self.cell(embedded, state)
        else:
            hidden, cell = lstm(dict(self.cell.named_parameters()), embedded, state)
        return self.head(hidden), torch.cat([hidden, cell], dim=-1)


def fold(x_BHD: Tensor, num_chunks: int, unroll: int) -> Tensor:
    """Cut trajectories into chunks that run side by side, the last one filled up with zeros: (B, H, D) to (U, C, D).

    Args:
        x_BHD: Any tensor of B trajectories.
        num_chunks: N, as many as the memories that were recorded.
        unroll: Steps of a chunk (fewer, if the trajectories are shorter).
    """
    B, H, D = x_BHD.shape
    steps = min(unroll, H)
    missing = num_chunks * steps - H
    if missing < 0:
        raise ValueError(
            f"{num_chunks} recorded memories are too few for {H} steps in chunks of {unroll}: "
            "trajectories are to be judged with the unroll that they were sampled with"
        )
    if missing:
        x_BHD = torch.cat([x_BHD, x_BHD.new_zeros(B, missing, D)], dim=1)
    return x_BHD.reshape(B * num_chunks, steps, D).transpose(0, 1)


def unfold(x_UCD: Tensor, num_trajectories: int, horizon: int) -> Tensor:
    """Join chunks to trajectories again, the inverse of `fold`: (U, C, D) to (B, H, D)."""
    U, C, D = x_UCD.shape
    return x_UCD.transpose(0, 1).reshape(num_trajectories, C // num_trajectories * U, D)[:, :horizon]


def memory_at_chunks(after_HBM: Tensor, initial_BM: Tensor, unroll: int) -> Tensor:
    """Memories at the start of every chunk, (B, N, M), from those after every step, (H, B, M)."""
    before_HBM = torch.cat([initial_BM.unsqueeze(0), after_HBM[:-1]])
    return before_HBM[::unroll].transpose(0, 1)
