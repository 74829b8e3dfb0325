"""Settings of MTL (Sun et al. 2019), those of the authors' PyTorch code where it differs from their first."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop
from metarl.supervised.presets.classifier_baseline import OPTIMISERS, Augment


@dataclass(frozen=True)
class Pretraining:
    """How all training classes are classified."""

    share: float = 0.5
    """Share of the updates, above 0 and below 1."""
    batch: int = 128
    """Images of one update."""
    augment: Augment = "affine"
    """Random changes of these images."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Of this part; for photographs SGD."""
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
        if not 0 < self.share < 1:
            raise ValueError(f"pretraining.share={self.share}, expected a share above 0 and below 1")
        if self.batch < 2:
            raise ValueError(f"pretraining.batch={self.batch}, expected 2 or more images")
        if self.augment not in get_args(Augment):
            expected = ", ".join(get_args(Augment))
            raise ValueError(f"pretraining.augment={self.augment!r}, expected one of {expected}")
        if self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"pretraining.optimizer={self.optimizer!r}, expected 'adam' or 'sgd'")


@dataclass(frozen=True)
class Config:
    """How a network is pre-trained, and what is learned of it on episodes."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes())
    """Episodes and optimiser of part 2; milestones are shares of its updates."""
    inner: InnerLoop = field(default_factory=lambda: InnerLoop(100, 100, 0.01, "head", first_order=True))
    """The inner loop, of the head."""
    pretraining: Pretraining = field(default_factory=Pretraining)
    """Part 1."""
    hard: float = 0.5
    """Probability that an update is on hard tasks; 0 for none."""
    pool: int = 100
    """How many of the latest hard classes are kept."""

    def __post_init__(self):
        if not 0 <= self.hard <= 1:
            raise ValueError(f"hard={self.hard}, expected a probability")
        if self.pool < 1:
            raise ValueError(f"pool={self.pool}, expected 1 or more")


def episodes() -> EpisodicTraining:
    """Training on episodes by Adam, whose step size halves after every tenth of it."""
    return EpisodicTraining(
        query=15,
        tasks=2,
        statistics="transductive",
        test_statistics="transductive",
        decay=0.5,
        milestones=tuple(tenth / 10 for tenth in range(1, 10)),
    )


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings for photographs, with a ResNet-12; for characters a Conv4-64, pre-trained by Adam.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if characters(data):
        return Config()
    net = Backbone("resnet12", channels=80, activation="leaky_relu")
    return Config(net, pretraining=Pretraining(augment="resized_crop", **OPTIMISERS[False]))
