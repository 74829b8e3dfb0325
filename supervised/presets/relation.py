"""Settings of relation networks (Sung et al. 2018)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining

CHOICES = {"loss": ("mse", "cross-entropy"), "pool": ("sum", "mean")}


@dataclass(frozen=True)
class Config:
    """How relation networks compare, and how they are trained."""

    backbone: Backbone = field(default_factory=lambda: Backbone("relation"))
    """Network from images to maps; relations are learned on maps of at least 4x4."""
    training: EpisodicTraining = field(
        default_factory=lambda: EpisodicTraining(decay_every=100_000, max_grad_norm=0.5)
    )
    """Episodes and optimiser; as many ways as in testing."""
    loss: Literal["mse", "cross-entropy"] = "mse"
    """Squared error of every relation against 1 or 0 (the paper's), or cross-entropy of a query's relations."""
    pool: Literal["sum", "mean"] = "mean"
    """How the maps of a class's support become one: their mean, which lets the number of shots change after training, or
    their sum (the paper's)."""
    filters: int = 64
    """Of the two convolutions that compare."""
    units: int = 8
    """Of the layer before the relation."""

    def __post_init__(self):
        for name, names in CHOICES.items():
            if getattr(self, name) not in names:
                raise ValueError(f"{name}={getattr(self, name)!r}, expected one of {', '.join(names)}")
        refuse_below({"filters": 1, "units": 1}, vars(self))


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's: fewer queries the more images there are in an episode.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    drawings = characters(data)
    queries = (10, 15) if not drawings else (15, 19) if way < 20 else (5, 10)
    training = EpisodicTraining(query=queries[shot == 1], decay_every=100_000, max_grad_norm=0.5)
    return Config(training=training)
