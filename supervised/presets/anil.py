"""Settings of ANIL (Raghu et al. 2020): MAML's, with an inner loop that changes the head only."""

from dataclasses import dataclass, field, replace
from typing import Literal

from metarl.supervised.methods.config import InnerLoop
from metarl.supervised.presets import maml


@dataclass(frozen=True)
class Config(maml.Config):
    """How a head adapts to a task, and how network and head are trained."""

    inner: InnerLoop = field(default_factory=lambda: InnerLoop(adapted="head"))
    """The inner loop."""
    test: Literal["head", "nil"] = "head"
    """How validation, testing and prediction answer: by the adapted head, or by cosines with the support (NIL)."""

    def __post_init__(self):
        if self.test not in ("head", "nil"):
            raise ValueError(f"test={self.test!r}, expected 'head' or 'nil'")


def config_for(data: str, way: int, shot: int) -> Config:
    """MAML's settings, by which the paper compares the two.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    usual = maml.config_for(data, way, shot)
    return Config(usual.backbone, usual.training, replace(usual.inner, adapted="head"))
