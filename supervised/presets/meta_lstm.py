"""Settings of the LSTM meta-learner (Ravi and Larochelle 2017)."""

from dataclasses import dataclass, field, replace

from metarl.configs import refuse_below
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop
from metarl.supervised.presets import maml


def _training() -> EpisodicTraining:
    return EpisodicTraining(
        query=15, tasks=1, statistics="transductive", test_statistics="support", max_grad_norm=0.25
    )


def _inner(steps: int) -> InnerLoop:
    return InnerLoop(steps=steps, test_steps=steps, first_order=True)


@dataclass(frozen=True)
class Config:
    """How a network adapts to a task, and how its start and the LSTM are trained."""

    backbone: Backbone = field(default_factory=lambda: Backbone(channels=32))
    """Network from images to features; the LSTM remembers `hidden` numbers for each of its weights."""
    training: EpisodicTraining = field(default_factory=_training)
    """Episodes and optimiser."""
    inner: InnerLoop = field(default_factory=lambda: _inner(12))
    """The inner loop; its step size and bound mean nothing here."""
    hidden: int = 20
    """Size of the LSTM."""

    def __post_init__(self):
        refuse_below({"hidden": 1}, vars(self))


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings for mini-ImageNet, for all images: 12 inner steps with one shot, 8 with more.

    The paper has no regression: 5 steps, MAML's network and episodes, but 5 waves to an update, as each costs as much as
    dozens of MAML's.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    if data == "sinusoid":
        training = replace(maml.training_for(data, way, shot), tasks=5, max_grad_norm=0.25)
        return Config(maml.backbone_for(data), training, _inner(5))
    return Config(inner=_inner(12 if shot == 1 else 8))
