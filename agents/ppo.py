"""PPO without meta-learning, through Stable-Baselines3: one policy for all tasks.

Schulman et al. 2017 (arXiv 1707.06347). The baseline that a meta-learner must beat after adaptation: it sees the
same worlds, a new task in every episode, and never adapts. In a lifetime it may track: go on learning by PPO.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from metarl.configs import refuse_below


@dataclass(frozen=True)
class TrackingConfig:
    """How PPO goes on learning in a lifetime: an update after every episode, on that episode."""

    lr: float | None = None
    """Adam's step size; unset, that of training. At 0 nothing changes."""
    epochs: int | None = None
    """Passes over one episode; unset, as in training."""
    batch_size: int | None = None
    """Steps in one minibatch; unset, as in training."""

    def __post_init__(self):
        if self.lr is not None and self.lr < 0:
            raise ValueError(f"tracking.lr={self.lr}, expected 0 or more")
        refuse_below({"epochs": 1, "batch_size": 1}, vars(self), "tracking.")


@dataclass(frozen=True)
class PPOConfig:
    """Stable-Baselines3's PPO and how its worlds are laid out."""

    environments: int = 40
    """Simulations that run side by side; each draws a new task whenever all start anew."""
    horizon: int | None = None
    """Steps of one episode, and of one rollout; unset, the world's own."""
    lifetimes: bool = True
    """Train on episodes of the world's lifetimes, if it has any; else on its tasks as they stand (no leg has failed)."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, of policy and value network alike."""
    initial_std: float = 1.0
    """Standard deviation of the actions at the start; where effort costs, a smaller one learns sooner."""
    initial_action: tuple[float, ...] = ()
    """Mean of the actions at the start, a number for each of them: a posture to set out from; unset, about 0."""
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
    target_kl: float | None = None
    """Learning from a rollout stops early once the KL divergence of a minibatch from the policy that sampled it is over
    1.5 times this, in nats; unset, all epochs are done."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before they are learned from; reported returns are not."""
    imitation: int = 10
    """Iterations that imitate the gait which training starts from, if it does (`--start-from gait-spider`)."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """What `tracking` does in a lifetime."""

    def __post_init__(self):
        refuse_out_of_range(self)


def refuse_out_of_range(config: Any) -> None:
    """Refuse settings of PPO, with or without memory, that make no sense.

    Raises:
        ValueError: It says which is wrong.
    """
    at_least = {"environments": 1, "episodes": 1, "memory": 1, "unroll": 1, "epochs": 1}
    at_least |= {"imitation": 0, "batch_size": 2, "horizon": 1}
    given = vars(config)
    refuse_below({name: least for name, least in at_least.items() if name in given}, given)
    if any(units < 1 for units in config.hidden):
        raise ValueError(f"hidden={config.hidden}, expected 1 or more units each")
    for name in ("initial_std", "lr", "clip", "reward_scale"):
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}={getattr(config, name)}, expected above 0")
    if config.target_kl is not None and not config.target_kl > 0:
        raise ValueError(f"target_kl={config.target_kl}, expected above 0, or None")
    if not all(math.isfinite(each) for each in config.initial_action):
        raise ValueError(f"initial_action={config.initial_action}, expected numbers")
    for name in ("discount", "gae_lambda"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name}={getattr(config, name)}, expected in [0, 1]")


CONFIG = PPOConfig()
