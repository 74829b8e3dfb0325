"""How long to train, and how often to do what (no torch is imported here)."""

from dataclasses import dataclass
from typing import Literal

from metarl.configs import refuse_below

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to do what."""

    steps: int
    """Environment steps (episodes, for images) to train for; the last iteration may pass it."""
    seed: int = 0
    """Everything random follows from it."""
    evaluate_every: int = 10
    """Iterations between evaluations (the last iteration is always evaluated); 0 for never."""
    checkpoint_every: int = 10
    """Iterations between checkpoints (the last state is always saved); 0 for the last one only."""
    keep: int | None = 5
    """How many of the newest checkpoints stay; None for all."""
    device: Device = "auto"
    """cpu or cuda moves the module there; auto leaves it where the algorithm put it."""

    def __post_init__(self):
        at_least = {"steps": 1, "seed": 0, "evaluate_every": 0, "checkpoint_every": 0, "keep": 1}
        refuse_below(at_least, vars(self))
