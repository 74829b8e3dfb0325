"""Settings of the nearest class mean of pixels."""

from dataclasses import dataclass, field

from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.presets.prototypical import Distance, check


@dataclass(frozen=True)
class Config:
    """How pixels are compared. Nothing is trained, so `training` says only which episodes are drawn."""

    training: EpisodicTraining = field(default_factory=EpisodicTraining)
    """Episodes; the optimiser has nothing to do."""
    distance: Distance = "squared"
    """Squared Euclidean distance to the class means, or the cosine with them."""
    scale: float | None = None
    """What closeness is multiplied by before the softmax; unset, 1 for squared distances and 10 for cosines. It changes
    probabilities only."""

    def __post_init__(self):
        check(self.distance, self.scale)


def config_for(data: str, way: int, shot: int) -> Config:
    """The same for all data.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing.
        shot: Support images of each class.
    """
    return Config()
