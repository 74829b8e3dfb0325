"""Settings of prototypical networks (Snell et al. 2017)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.supervised.methods.config import Backbone, EpisodicTraining


@dataclass(frozen=True)
class Config:
    """How prototypical networks compare, and how they are trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: EpisodicTraining(way=30, decay_every=2000))
    """Episodes and optimiser; more ways than in testing help."""
    distance: Literal["squared", "cosine"] = "squared"
    """Squared Euclidean distance to the class means, or the cosine with them."""
    scale: float = 1.0
    """What closeness is multiplied by before the softmax; cosines need about 10."""

    def __post_init__(self):
        if self.distance not in ("squared", "cosine"):
            raise ValueError(f"distance={self.distance!r}, expected 'squared' or 'cosine'")
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale}, expected a number above 0")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings: 60 ways for drawn characters; for photographs 30 with one shot, 20 with more.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing (the ways of training do not depend on it).
        shot: Support images of each class.
    """
    if data.startswith("omniglot") or data == "strokes":
        return Config(training=EpisodicTraining(way=60, query=5, decay_every=2000))
    return Config(training=EpisodicTraining(way=30 if shot == 1 else 20, decay_every=2000))
