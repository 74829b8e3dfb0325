"""PPO with memory, through sb3-contrib: an LSTM whose state is kept over the episodes of a lifetime.

The recurrent baseline of Al-Shedivat et al. 2018 (arXiv 1710.03641, sec. 5.1): it may find out about the task by what
it observes, and never changes its parameters.
"""

from dataclasses import dataclass
from typing import Literal

from metarl.agents.ppo import refuse_out_of_range


@dataclass(frozen=True)
class RecurrentPPOConfig:
    """sb3-contrib's recurrent PPO, what it remembers and observes, and how its worlds are laid out."""

    environments: int = 24
    """Simulations that run side by side, each in a lifetime of its own."""
    horizon: int | None = None
    """Steps of one episode; unset, the world's own."""
    episodes: int = 1
    """Episodes of a lifetime, all of one task, in a world that has no lifetimes of its own."""
    feedback: bool = False
    """Observe the last action and reward, too, and where episodes end and start (RL^2)."""
    hidden: tuple[int, ...] = (64,)
    """Units of each layer before the LSTM, of policy and value network alike."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of these layers; a meta-policy with an LSTM can start from a run with one layer of `relu`."""
    memory: int = 64
    """Units of the LSTM; the value network has one of its own."""
    initial_std: float = 1.0
    """Standard deviation of the actions at the start; where effort costs, a smaller one learns sooner."""
    initial_action: tuple[float, ...] = ()
    """Mean of the actions at the start, a number for each of them: a posture to set out from; unset, about 0."""
    unroll: int = 50
    """Steps that a gradient goes back in time; longer sequences are cut, and start from the state that was sampled."""
    lr: float = 3e-4
    """Adam's step size."""
    batch_size: int = 1000
    """Steps in one minibatch, rounded down to whole sequences."""
    epochs: int = 10
    """Passes over one rollout."""
    discount: float = 0.99
    """Discount per step, also over the ends of episodes."""
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
    """Iterations that imitate the policy which training starts from, if that one has no memory (`--start-from`), or the
    gait."""

    def __post_init__(self):
        refuse_out_of_range(self)
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"activation={self.activation!r}, expected 'tanh' or 'relu'")


CONFIG = RecurrentPPOConfig()
