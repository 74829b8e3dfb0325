"""Settings of Meta-Baseline (Chen et al. 2021)."""

from dataclasses import dataclass, field

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.presets.classifier_baseline import (
    OPTIMISERS,
    augment_for,
    backbone_for,
    batch_for,
    milestones_for,
)
from metarl.supervised.presets.pretraining import Pretraining

PRETRAINING = 0.88
"""Share of the updates in the paper: 100 epochs of 300 batches, then 20 of 200."""


@dataclass(frozen=True)
class Config:
    """How a classifier of all training classes is trained, and then on episodes."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: EpisodicTraining(query=15, tasks=4, lr=1e-4))
    """Episodes and optimiser of part 2; milestones are shares of its updates."""
    pretraining: Pretraining = field(
        default_factory=lambda: Pretraining(PRETRAINING, decay=0.1, milestones=(0.9,))
    )
    """Part 1, with an optimiser of its own; `share` 0 for episodes only."""
    scale: float = 10.0
    """What cosines are multiplied by before the softmax, at first."""
    learn_scale: bool = True
    """Whether episodes change it."""

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale}, expected a number above 0")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's for photographs (of 80x80 pixels there); for characters a Conv4-64, trained by Adam.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if characters(data):
        return Config()
    first = Pretraining(
        0.96 if data == "tiered-imagenet" else PRETRAINING,
        batch_for(data),
        augment_for(data),
        decay=0.1,
        milestones=milestones_for(data),
        **OPTIMISERS[False],
    )
    episodes = EpisodicTraining(query=15, tasks=4, **{**OPTIMISERS[False], "lr": 1e-3})
    return Config(backbone_for(data), episodes, first)
