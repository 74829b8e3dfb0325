"""Self-play: PPO against earlier versions of itself, and against other opponents of a pool.

The curriculum of Al-Shedivat et al. 2018 (arXiv 1710.03641, sec. 4.2): an opponent is drawn uniformly, then its version
uniformly from those that there are. Some matches are against the newest version, and some against an opponent that
stands still, which pushes nobody but does not fall either.
"""

from dataclasses import dataclass, field
from typing import Literal

from metarl.agents.ppo import PPOConfig
from metarl.agents.recurrent_ppo import RecurrentPPOConfig

ITSELF = "self"
"""What the learner's own versions are called among the opponents."""


@dataclass(frozen=True)
class SelfPlayConfig:
    """Who is met, and by what the learner learns."""

    body: Literal["mlp", "lstm"] = "mlp"
    """Learner: PPO of Stable-Baselines3 (`ppo`), or of sb3-contrib with an LSTM (`recurrent`)."""
    snapshot_every: int = 4
    """Iterations from one version of the learner to the next."""
    newest: float = 0.5
    """Share of the matches that are against the newest version."""
    still: float = 0.2
    """Share of the matches that are against an opponent that stands still."""
    oldest: float = 0.0
    """Versions drawn are the newer ones: none older than this share of the newest's number, in [0, 1)."""
    shaping_until: float | None = None
    """Share of the training over which the weight of the rewards for trying falls from its start to 0; unset, never. A
    training that is lengthened counts by its new length."""
    ppo: PPOConfig = field(
        default_factory=lambda: PPOConfig(
            environments=64,
            initial_std=0.6,
            batch_size=2000,
            discount=0.995,
            reward_scale=0.01,
        )
    )
    """The learner with `mlp`."""
    recurrent: RecurrentPPOConfig = field(
        default_factory=lambda: RecurrentPPOConfig(
            environments=64,
            initial_std=0.6,
            batch_size=4000,
            discount=0.995,
            reward_scale=0.01,
        )
    )
    """The learner with `lstm`."""

    def __post_init__(self):
        if self.snapshot_every < 1:
            raise ValueError(f"snapshot_every={self.snapshot_every}, expected 1 or more iterations")
        for name in ("newest", "still", "oldest"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}, expected a share in [0, 1]")
        if self.newest + self.still > 1:
            raise ValueError(
                f"newest={self.newest} and still={self.still} are more than all matches together"
            )
        if self.oldest == 1:
            raise ValueError("oldest=1.0 leaves no version but the newest: use newest=1.0")
        if self.body == "lstm" and self.recurrent.activation == "relu" and len(self.recurrent.hidden) != 1:
            raise ValueError(
                f"recurrent.activation='relu' with recurrent.hidden={self.recurrent.hidden}: opponents have one layer of "
                "relu, or any number of tanh"
            )
        if self.shaping_until is not None and not 0 < self.shaping_until <= 1:
            raise ValueError(f"shaping_until={self.shaping_until}, expected a share in (0, 1], or None")

    @property
    def learner(self) -> PPOConfig | RecurrentPPOConfig:
        """The settings that hold."""
        return self.ppo if self.body == "mlp" else self.recurrent


CONFIG = SelfPlayConfig()
