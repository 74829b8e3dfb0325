"""Settings of triplet networks (Hoffer and Ailon 2015)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining

CHOICES = {"loss": ("softmax", "margin"), "mining": ("semi-hard", "all")}


@dataclass(frozen=True)
class Config:
    """Which triplets networks are trained on, and how."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: EpisodicTraining(way=20))
    """Episodes and optimiser; triplets are made of all images of an episode."""
    loss: Literal["softmax", "margin"] = "softmax"
    """Squared share that the positive has in the softmax of both distances (the paper's), or how much the positive is not
    nearer by a margin."""
    margin: float = 1.0
    """Of the margin loss."""
    mining: Literal["semi-hard", "all"] = "semi-hard"
    """For each anchor and positive the nearest negative that is farther than the positive (else the farthest), or every
    negative (what random triplets, the paper's, are on average)."""

    def __post_init__(self):
        for name, names in CHOICES.items():
            if getattr(self, name) not in names:
                raise ValueError(f"{name}={getattr(self, name)!r}, expected one of {', '.join(names)}")
        if not self.margin > 0:
            raise ValueError(f"margin={self.margin}, expected a number above 0")


def config_for(data: str, way: int, shot: int) -> Config:
    """Episodes of more classes than in testing, for triplets to choose from (the paper has no few-shot settings).

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing (the ways of training do not depend on it).
        shot: Support images of each class.
    """
    drawings = characters(data)
    training = EpisodicTraining(way=20, query=5 if drawings else 10, decay_every=10_000)
    return Config(training=training)
