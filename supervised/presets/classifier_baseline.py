"""Settings of Classifier-Baseline (Chen et al. 2021)."""

from dataclasses import dataclass, field
from typing import Any

from metarl.supervised.datasets import characters, holds_features
from metarl.supervised.methods.config import Augment, Backbone, EpisodicTraining, check_augment

OPTIMISERS: dict[bool, dict[str, Any]] = {
    False: {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
    True: {"optimizer": "adam", "lr": 2e-3, "momentum": 0.0, "weight_decay": 0.0},
}
"""The paper's optimiser, and that for characters. Omniglot has 4,112 training classes, of which a batch shows 3 in 100:
plain gradient steps move the weights of a class 64 times as slowly as among the paper's 64 classes. After 400 updates the
loss was still within 0.3 of that of guessing, with Adam 1.5 below."""


def _training(characters: bool = True, milestones: tuple[float, ...] = (0.9,)) -> EpisodicTraining:
    return EpisodicTraining(
        way=30, shot=1, query=3, decay=0.1, milestones=milestones, **OPTIMISERS[characters]
    )


@dataclass(frozen=True)
class Config:
    """How a classifier of all training classes is trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=_training)
    """Optimiser. Nothing is trained on episodes; their ways, shots and queries are those of the batches that the running
    averages of batch norm are estimated from."""
    batch: int = 128
    """Images of one update."""
    augment: Augment = "affine"
    """Random changes of training images."""
    scale: float = 10.0
    """What cosines are multiplied by, so that their softmax in testing is not nearly flat; accuracy does not depend on
    it."""

    def __post_init__(self):
        check(self.batch, self.augment, self.scale)
        if self.training.augment != "none":
            raise ValueError(
                f"training.augment={self.training.augment!r}, expected 'none': nothing is trained on episodes; what "
                "changes the images is augment"
            )


def check(batch: int, augment: str, scale: float) -> None:
    """Refuse settings that make no sense.

    Raises:
        ValueError: It says which is wrong.
    """
    if batch < 2:
        raise ValueError(f"batch={batch}, expected 2 or more images")
    check_augment(augment, "augment")
    if not scale > 0:
        raise ValueError(f"scale={scale}, expected a number above 0")


def batch_for(data: str) -> int:
    """Images of one update in the paper."""
    return 512 if data == "tiered-imagenet" else 128


def milestones_for(data: str) -> tuple[float, ...]:
    """Shares of the training on all classes after which the step size falls to a tenth, in the paper."""
    return (40 / 120, 80 / 120) if data == "tiered-imagenet" else (0.9,)


def augment_for(data: str) -> Augment:
    """Windows and mirror images of photographs, as in the paper; characters are turned and moved, features left alone."""
    if holds_features(data):
        return "none"
    return "affine" if characters(data) else "resized_crop"


def backbone_for(data: str) -> Backbone:
    """ResNet-12 as in the paper, but Conv4-64 for characters."""
    return Backbone() if characters(data) else Backbone("resnet12", activation="leaky_relu")


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's for photographs (of 80x80 pixels there); for characters a Conv4-64, trained by Adam.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing (training does not depend on it).
        shot: Support images of each class (likewise).
    """
    if characters(data):
        return Config()
    training = _training(characters=False, milestones=milestones_for(data))
    return Config(backbone_for(data), training, batch_for(data), augment_for(data))
