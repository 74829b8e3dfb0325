"""Settings of Gaussian prototypical networks (Fort 2017)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.presets import prototypical


@dataclass(frozen=True)
class Config:
    """What certainty is, and how it is trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: EpisodicTraining(way=30, decay_every=2000))
    """Episodes and optimiser; more ways than in testing help."""
    certainty: Literal["radius", "diagonal"] = "radius"
    """One number for an image, or one for every feature of it."""
    damaged: float = 0.0
    """Share of training images that are shown blurred, so that certainty has something to tell apart."""

    def __post_init__(self):
        if self.certainty not in ("radius", "diagonal"):
            raise ValueError(f"certainty={self.certainty!r}, expected 'radius' or 'diagonal'")
        if not 0 <= self.damaged <= 1:
            raise ValueError(f"damaged={self.damaged}, expected a share from 0 to 1")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's for drawn characters (60 ways); it has none for photographs, which get those of prototypical networks.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing (the ways of training do not depend on it).
        shot: Support images of each class.
    """
    return Config(training=prototypical.config_for(data, way, shot).training)
