"""Settings of TADAM (Oreshkin, Rodriguez and Lacoste 2018)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Augment, Backbone, EpisodicTraining
from metarl.supervised.presets import classifier_baseline

Distance = Literal["euclidean", "squared", "cosine"]
"""How near a query is: minus the Euclidean distance, minus its square, or the cosine."""
SCALES = {"euclidean": 7.5, "squared": 1.0, "cosine": 10.0}
"""What each is multiplied by before the softmax at first, if nothing else is asked for."""


def _training(shot: int) -> EpisodicTraining:
    """The paper's: about as many queries of an update as support images, in 5, 2 or 1 episodes by 1, 5 or more shots."""
    tasks, query = (5, 3) if shot == 1 else (2, 7) if shot <= 5 else (1, 13)
    return EpisodicTraining(
        query=query,
        tasks=tasks,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        decay=0.1,
        milestones=(1 / 2, 7 / 12, 2 / 3),
        max_grad_norm=1.0,
    )


@dataclass(frozen=True)
class Config:
    """How TADAM compares, how it conditions features on the task, and how it is trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: _training(1))
    """Episodes and optimiser."""
    distance: Distance = "euclidean"
    """The Euclidean distance to the class means, its square, or the cosine with them."""
    scale: float | None = None
    """What closeness is multiplied by before the softmax; unset, 7.5 for the Euclidean distance, 1 for its square and 10
    for cosines."""
    learn_scale: bool = True
    """Whether the scale is trained, from there on."""
    conditioning: bool = True
    """Whether the mean of the class means scales and shifts every channel of the network."""
    penalty: float = 0.01
    """This multiple of the factors that conditioning starts at 0 is added to their gradient, the weight decay of the
    optimiser being a part of it."""
    auxiliary: bool = True
    """Whether some updates classify all training classes; without them conditioning does harm."""
    batch: int = 64
    """Images of such an update."""
    augment: Augment = "none"
    """Random changes of these images."""

    def __post_init__(self):
        if self.distance not in SCALES:
            raise ValueError(f"distance={self.distance!r}, expected one of {', '.join(SCALES)}")
        scale = SCALES[self.distance] if self.scale is None else self.scale
        classifier_baseline.check(self.batch, self.augment, scale)
        if self.penalty < 0:
            raise ValueError(f"penalty={self.penalty}, expected 0 or more")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's for photographs; for characters a Conv4-64, trained in the same way.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    backbone = Backbone() if characters(data) else Backbone("resnet12", activation="silu")
    return Config(backbone, _training(shot))
