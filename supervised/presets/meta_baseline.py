"""Settings of Meta-Baseline (Chen et al. 2021)."""

from dataclasses import dataclass, field

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.presets.classifier_baseline import (
    OPTIMISERS,
    Augment,
    backbone_for,
    batch_for,
    check,
    milestones_for,
)

PRETRAINING = 0.88
"""Share of the updates in the paper: 100 epochs of 300 batches, then 20 of 200."""


def _training(data: str, pretraining: float) -> EpisodicTraining:
    milestones = tuple(share * pretraining for share in milestones_for(data))
    if len(milestones) == 1:  # episodes begin with a hundredth of the first step size in any case
        milestones += (pretraining,)
    return EpisodicTraining(
        query=15, tasks=4, decay=0.1, milestones=milestones, **OPTIMISERS[characters(data)]
    )


@dataclass(frozen=True)
class Config:
    """How a classifier of all training classes is trained, and then on episodes."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: _training("omniglot", PRETRAINING))
    """Episodes and optimiser, which is that of both parts: who changes `pretraining` moves the milestones along, so that
    the step size on episodes is a hundredth of the first one."""
    pretraining: float = PRETRAINING
    """Share of the updates that classify all training classes; 0 for episodes only."""
    batch: int = 128
    """Images of such an update."""
    augment: Augment = "affine"
    """Random changes of these images."""
    scale: float = 10.0
    """What cosines are multiplied by before the softmax, at first."""
    learn_scale: bool = True
    """Whether episodes change it."""

    def __post_init__(self):
        check(self.batch, self.augment, self.scale)
        if not 0 <= self.pretraining < 1:
            raise ValueError(f"pretraining={self.pretraining}, expected a share from 0 to below 1")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's for photographs (of 80x80 pixels there); for characters a Conv4-64, trained by Adam.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if characters(data):
        return Config()
    share = 0.96 if data == "tiered-imagenet" else PRETRAINING
    return Config(backbone_for(data), _training(data, share), share, batch_for(data), "resized_crop")
