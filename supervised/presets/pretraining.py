"""Settings of a first part of the training, which classifies all training classes."""

from dataclasses import dataclass
from typing import Literal

from metarl.supervised.methods.config import Augment, EpisodicTraining, check_augment


@dataclass(frozen=True)
class Pretraining:
    """How all training classes are classified."""

    share: float = 0.5
    """Share of the training's updates, below 1; 0 for none."""
    batch: int = 128
    """Images of one update."""
    augment: Augment = "affine"
    """Random changes of these images."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Outer optimiser of these updates."""
    lr: float = 2e-3
    """First step size."""
    momentum: float = 0.0
    """Of SGD."""
    weight_decay: float = 0.0
    """Factor of the squared length of the weights in the loss (times one half)."""
    decay: float = 0.2
    """Factor of the step size at every milestone."""
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    """Shares of these updates after which the step size decays."""

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise ValueError(f"pretraining.share={self.share}, expected a share from 0 to below 1")
        if self.batch < 2:
            raise ValueError(f"pretraining.batch={self.batch}, expected 2 or more images")
        check_augment(self.augment, "pretraining.augment")
        if self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"pretraining.optimizer={self.optimizer!r}, expected 'adam' or 'sgd'")

    def as_training(self) -> EpisodicTraining:
        """Optimiser and step sizes as a stage wants them."""
        return EpisodicTraining(
            optimizer=self.optimizer,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            decay=self.decay,
            milestones=self.milestones,
        )
