"""Settings of VERSA (Gordon et al. 2019)."""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining


def _training(tasks: int, lr: float = 1e-4) -> EpisodicTraining:
    return EpisodicTraining(query=15, tasks=tasks, lr=lr)


@dataclass(frozen=True)
class Config:
    """From which features classifiers are inferred, and how this is trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to maps."""
    training: EpisodicTraining = field(default_factory=lambda: _training(16))
    """Episodes and optimiser."""
    features: int = 256
    """Numbers that a linear layer makes of the maps, and units of every layer of the inference networks."""
    samples: int = 10
    """Classifiers drawn from their posterior, whose probabilities are averaged; in training and testing."""

    def __post_init__(self):
        refuse_below({"features": 1, "samples": 1}, vars(self))


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's episodes and step sizes; its networks have one more block for photographs.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if characters(data):
        return Config(training=_training(16))
    return Config(training=_training(8, 2.5e-4) if shot == 1 else _training(4))
