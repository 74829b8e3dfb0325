"""Settings of first-order MAML (Finn et al. 2017): MAML's, with `inner.first_order`."""

from dataclasses import dataclass, field, replace

from metarl.supervised.methods.config import InnerLoop
from metarl.supervised.presets import maml


@dataclass(frozen=True)
class Config(maml.Config):
    """How a network adapts to a task, and how its start is trained."""

    inner: InnerLoop = field(default_factory=lambda: InnerLoop(first_order=True))
    """The inner loop."""


def config_for(data: str, way: int, shot: int) -> Config:
    """MAML's settings.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    usual = maml.config_for(data, way, shot)
    return Config(usual.backbone, usual.training, replace(usual.inner, first_order=True))
