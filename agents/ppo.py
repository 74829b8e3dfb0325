"""PPO without meta-learning, through Stable-Baselines3: one policy for all tasks.

Schulman et al. 2017 (arXiv 1707.06347). The baseline that a meta-learner must beat after adaptation: it sees the
same worlds, a new task in every episode, and never adapts.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PPOConfig:
    """Stable-Baselines3's PPO and how its worlds are laid out."""

    environments: int = 40
    """Simulations that run side by side; each draws a new task whenever all start anew."""
    horizon: int | None = None
    """Steps of one episode, and of one rollout; unset, the world's own."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, of policy and value network alike."""
    lr: float = 3e-4
    """Adam's step size."""
    batch_size: int = 500
    """Steps in one minibatch."""
    epochs: int = 10
    """Passes over one rollout."""
    discount: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Exponent of generalised advantage estimation."""
    clip: float = 0.2
    """The probability ratio is clipped to [1 - clip, 1 + clip]."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""


CONFIG = PPOConfig()
