"""Baselines: what a state was worth on average, subtracted from what followed it.

Legend: T tasks, B trajectories, H time steps, D observation size, F features.
"""

import torch
from torch import Tensor, nn

from metarl.agents.recurrent_policies import RecurrentNetwork, fold, unfold
from metarl.nn import MLP


def time_features(horizon: int, like: Tensor) -> Tensor:
    """Powers 1, 2, 3 of time in hundreds of steps, and a constant: shape (H, 4)."""
    t = torch.arange(horizon, device=like.device, dtype=like.dtype) / 100.0
    return torch.stack([t, t**2, t**3, torch.ones_like(t)], dim=-1)


def fit_linear_values(obs_TBHD: Tensor, returns_TBH: Tensor, mask_TBH: Tensor, ridge: float = 1e-5) -> Tensor:
    """Linear-feature baseline, fitted to each task's own returns (Duan et al. 2016, arXiv 1604.06778, section A.2).

    Features are the observation clipped to [-10, 10], its square, time and a constant. The ridge grows tenfold, up to
    five times, until the normal equations can be factorised.

    Args:
        obs_TBHD: Observations, shape (T, B, H, D).
        returns_TBH: Discounted returns from each step on.
        mask_TBH: 1 for steps that belong to an episode.
        ridge: Added to the diagonal of the normal equations.

    Returns:
        Values, shape (T, B, H).
    """
    T, B, H, _ = obs_TBHD.shape
    obs = obs_TBHD.double().clamp(-10, 10)
    time = time_features(H, obs).expand(T, B, H, 4)
    features_TNF = torch.cat([obs, obs.square(), time], dim=-1).reshape(T, B * H, -1)
    masked_TNF = features_TNF * mask_TBH.reshape(T, B * H, 1)
    normal_TFF = masked_TNF.mT @ masked_TNF
    right_TF1 = masked_TNF.mT @ returns_TBH.double().reshape(T, B * H, 1)
    eye = torch.eye(normal_TFF.shape[-1], dtype=obs.dtype, device=obs.device)
    for _ in range(6):
        factor_TFF, failed = torch.linalg.cholesky_ex(normal_TFF + ridge * eye)
        if not failed.any():
            break
        ridge *= 10
    weights_TF1 = torch.cholesky_solve(right_TF1, factor_TFF)
    return (features_TNF @ weights_TF1).reshape(T, B, H).to(obs_TBHD.dtype)


def value_unit(horizon: int, discount: float) -> float:
    """The effective horizon, in steps: what the numbers of a value network are multiples of."""
    return min(horizon, 1 / (1 - discount)) if discount < 1 else horizon


class ValueNetwork(nn.Module):
    """State values from a network shared by all tasks, in units of the effective horizon.

    Time is among its inputs, because the value of a state in a finite episode depends on how much is left.

    Args:
        observation_size: D.
        hidden: Units of each hidden layer.
        horizon: Steps of an episode.
        discount: Per step.
        context_size: Context parameters among its inputs.
        unroll: Steps of a chunk of a network with memory (see `metarl.agents.recurrent_policies`); None for a
            perceptron.
    """

    def __init__(
        self,
        observation_size: int,
        hidden: tuple[int, ...],
        horizon: int,
        discount: float,
        context_size: int = 0,
        unroll: int | None = None,
    ):
        super().__init__()
        inputs = observation_size + 4 + context_size
        self.unroll = unroll
        if unroll is None:
            self.network = MLP((inputs, *hidden, 1), activation="tanh")
        else:
            self.network = RecurrentNetwork(inputs, hidden, 1, unroll)
        self.unit = value_unit(horizon, discount)

    def forward(
        self, obs_BHD: Tensor, context: Tensor | None = None, memory_BNM: Tensor | None = None
    ) -> Tensor:
        """Values of whitened observations, shape (B, H, D) to (B, H).

        Args:
            obs_BHD: Observations from the first step of an episode on.
            context: Shape (context_size,).
            memory_BNM: What was remembered at the start of every chunk; required if the network has a memory.
        """
        x_BHD = self.inputs(obs_BHD, context)
        if memory_BNM is None:
            return self.network(x_BHD).squeeze(-1) * self.unit
        x_UCD = fold(x_BHD, memory_BNM.shape[1], self.unroll)
        values_UC1, _ = self.network(x_UCD, memory_BNM.flatten(0, 1))
        return unfold(values_UC1, *obs_BHD.shape[:2]).squeeze(-1) * self.unit

    def inputs(self, obs_BHD: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network is given: observations, time and context, side by side."""
        shape = obs_BHD.shape[:-1]
        inputs = [obs_BHD, time_features(obs_BHD.shape[-2], obs_BHD).expand(*shape, 4)]
        if context is not None:
            inputs.append(context.expand(*shape, context.shape[-1]))
        return torch.cat(inputs, dim=-1)

    def loss(
        self, values_BH: Tensor, returns_BH: Tensor, mask_BH: Tensor, weights_BH: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of its values against discounted returns, in squared effective horizons.

        Args:
            values_BH: What the network said.
            returns_BH: Discounted returns from each step on.
            mask_BH: 1 for steps that belong to an episode.
            weights_BH: Importance weights; None for 1.
        """
        squares = ((values_BH - returns_BH) / self.unit).square()
        if weights_BH is not None:
            squares = squares * weights_BH
        return (squares * mask_BH).sum() / mask_BH.sum().clamp(min=1)
