"""Settings of MAML along geodesics: MAML's."""

from dataclasses import dataclass

from metarl.supervised.presets import maml


@dataclass(frozen=True)
class Config(maml.Config):
    """How a network adapts to a task, and how its start is trained."""


def config_for(data: str, way: int, shot: int) -> Config:
    """MAML's settings.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    usual = maml.config_for(data, way, shot)
    return Config(usual.backbone, usual.training, usual.inner)
