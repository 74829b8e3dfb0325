"""The policy network and the running statistics of what it observes.

Both work on one task or on many at once: a parameter may carry leading task axes, which the observations then carry
too, so that the policies of many tasks act by one batched matrix product per layer.

Legend: B environments or trajectories, D observation size, A action size.
"""

import math

import torch
from torch import Tensor, nn

from metarl.agents.configs import PolicyConfig
from metarl.agents.recurrent_policies import RecurrentNetwork
from metarl.nn import MLP

LOG_TWO_PI = math.log(2 * math.pi)


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian over actions, from an observation.

    Args:
        observation_size: D.
        action_size: A.
        config: Body, hidden layers, spread, context.

    What it remembers is a tensor (..., B, M) with `body="lstm"`; a perceptron has no memory, and takes and gives none.
    The parameter `context` (shape `(context_size,)`, all zero, not trained) exists only where the configuration asks for
    one; an inner loop may adapt it.
    """

    def __init__(self, observation_size: int, action_size: int, config: PolicyConfig):
        super().__init__()
        self.action_size = action_size
        self.minimum_log_std = math.log(config.minimum_std)
        self.by_network = config.spread == "network"
        outputs = 2 * action_size if self.by_network else action_size
        inputs = observation_size + config.context_size
        self.unroll = config.unroll if config.body == "lstm" else None
        if config.body == "lstm":
            self.network = RecurrentNetwork(inputs, config.hidden, outputs, config.unroll)
            last = self.network.head
        else:
            self.network = MLP((inputs, *config.hidden, outputs), activation=config.activation)
            last = self.network.layers[-1]
        start = math.log(config.initial_std)
        if self.by_network:
            with torch.no_grad():
                last.weight[action_size:] = 0
                last.bias[action_size:] = start
        else:
            self.log_std = nn.Parameter(torch.full((action_size,), start))
        if config.context_size:
            self.context = nn.Parameter(torch.zeros(config.context_size), requires_grad=False)
        else:
            self.context = None

    def initial_memory(self, *shape: int) -> tuple[Tensor, ...]:
        """What to start from: a tensor (*shape, M) of zeros, or nothing where there is no memory."""
        return () if self.unroll is None else (self.network.initial_memory(*shape),)

    def forward(self, obs_BD: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """The distribution over actions.

        Args:
            obs_BD: Observations, shape (..., B, D); leading axes as the parameters have them.
            *memory: If the policy has one, its memory (..., B, M). The observations may then also be those of several
                steps (H, B, D), and what is returned is of each.

        Returns:
            Mean and log standard deviation, each of shape (..., B, A); and the memory afterwards, if there is one.
        """
        if self.context is not None:
            context = self.context.unsqueeze(-2).expand(*obs_BD.shape[:-1], self.context.shape[-1])
            obs_BD = torch.cat([obs_BD, context], dim=-1)
        if memory:
            mean_BA, *memory = self.network(obs_BD, *memory)
        else:
            mean_BA = self.network(obs_BD)
        if self.by_network:
            mean_BA, log_std_BA = mean_BA.split(self.action_size, dim=-1)
        else:
            log_std_BA = self.log_std.unsqueeze(-2).expand_as(mean_BA)
        return mean_BA, log_std_BA.clamp(min=self.minimum_log_std), *memory


def log_probability(actions_BA: Tensor, mean_BA: Tensor, log_std_BA: Tensor) -> Tensor:
    """Log-density of actions under a diagonal Gaussian, summed over action dimensions: (..., A) to (...)."""
    z_BA = (actions_BA - mean_BA) * (-log_std_BA).exp()
    return (-0.5 * z_BA.square() - log_std_BA - 0.5 * LOG_TWO_PI).sum(-1)


def kl_divergence(
    mean_BA: Tensor, log_std_BA: Tensor, other_mean_BA: Tensor, other_log_std_BA: Tensor
) -> Tensor:
    """KL divergence of the second diagonal Gaussian from the first, KL(first || second): (..., A) to (...)."""
    variance = (2 * log_std_BA).exp()
    other_variance = (2 * other_log_std_BA).exp()
    squares = (variance + (mean_BA - other_mean_BA).square()) / (2 * other_variance)
    return (squares + other_log_std_BA - log_std_BA - 0.5).sum(-1)


def entropy(log_std_BA: Tensor) -> Tensor:
    """Entropy of a diagonal Gaussian: (..., A) to (...)."""
    return (log_std_BA + 0.5 * (LOG_TWO_PI + 1)).sum(-1)


class ObservationNormalizer(nn.Module):
    """Whitens observations by their running mean and variance; its numbers are buffers and travel in checkpoints.

    Args:
        size: D.
        clip: Whitened observations are clipped to [-clip, clip].
        enabled: False passes observations through.
    """

    def __init__(self, size: int, clip: float = 5.0, enabled: bool = True):
        super().__init__()
        self.clip = clip
        self.enabled = enabled
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))

    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (at least 0.01) so far, float64, shape (D,) each."""
        if self.count == 0:
            return self.mean, torch.ones_like(self.mean)
        return self.mean, (self.squares / self.count).sqrt().clamp(min=0.01)

    def forward(self, obs: Tensor) -> Tensor:
        """Whiten observations of shape (..., D); float32 comes back."""
        if not self.enabled:
            return obs.float()
        mean, std = self.scale()
        return ((obs - mean) / std).clamp(-self.clip, self.clip).float()

    @torch.no_grad()
    def update(self, count: Tensor, total: Tensor, total_squares: Tensor) -> None:
        """Take in a batch by its sums (Chan et al. 1979), which may have been added over ranks before.

        Args:
            count: Number of observations, scalar.
            total: Their sum, shape (D,).
            total_squares: Sum of their squares, shape (D,).
        """
        if not self.enabled or count == 0:
            return
        batch_mean = total / count
        batch_squares = (total_squares - count * batch_mean.square()).clamp(min=0)
        delta = batch_mean - self.mean
        both = self.count + count
        self.squares += batch_squares + delta.square() * self.count * count / both
        self.mean += delta * count / both
        self.count.copy_(both)
