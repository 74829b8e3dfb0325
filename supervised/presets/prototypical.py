"""Settings of prototypical networks (Snell et al. 2017)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining

Distance = Literal["squared", "cosine"]
"""How near a query is: minus the squared Euclidean distance, or the cosine."""
SCALES = {"squared": 1.0, "cosine": 10.0}
"""What each is multiplied by before a softmax, if nothing else is asked for: cosines lie in [-1, 1]."""


@dataclass(frozen=True)
class Config:
    """How prototypical networks compare, and how they are trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: EpisodicTraining(way=30, decay_every=2000))
    """Episodes and optimiser; more ways than in testing help."""
    distance: Distance = "squared"
    """Squared Euclidean distance to the class means, or the cosine with them."""
    scale: float | None = None
    """What closeness is multiplied by before the softmax; unset, 1 for squared distances and 10 for cosines."""

    def __post_init__(self):
        check(self.distance, self.scale)


def check(distance: str, scale: float | None) -> None:
    """Refuse an unknown distance or a scale that is not above 0.

    Raises:
        ValueError: It says which is wrong.
    """
    if distance not in SCALES:
        raise ValueError(f"distance={distance!r}, expected one of {', '.join(SCALES)}")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale={scale}, expected a number above 0, or None")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings: 60 ways for drawn characters; for photographs 30 with one shot, 20 with more.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing (the ways of training do not depend on it).
        shot: Support images of each class.
    """
    if characters(data):
        return Config(training=EpisodicTraining(way=60, query=5, decay_every=2000))
    return Config(training=EpisodicTraining(way=30 if shot == 1 else 20, decay_every=2000))
