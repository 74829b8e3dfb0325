"""Settings of Meta-SGD (Li et al. 2017): MAML's, with one inner step in training and testing.

Every step size starts at 0.1 on images and at 0.01 on sine waves, and learns from there.
"""

from dataclasses import dataclass, field, replace

from metarl.supervised.methods.config import InnerLoop
from metarl.supervised.presets import maml


@dataclass(frozen=True)
class Config(maml.Config):
    """How a network adapts to a task, and how its start and its step sizes are trained."""

    inner: InnerLoop = field(default_factory=lambda: InnerLoop(test_steps=1, lr=0.1))
    """The inner loop; `inner.lr` is where every step size starts."""


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings, as far as they are known, else MAML's.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    usual = maml.config_for(data, way, shot)
    start = 0.01 if data == "sinusoid" else 0.1
    inner = replace(usual.inner, steps=1, test_steps=1, lr=start)
    training = replace(usual.training, max_grad_value=10.0)
    return Config(usual.backbone, training, inner)
