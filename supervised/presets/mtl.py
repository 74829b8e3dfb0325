"""Settings of MTL (Sun et al. 2019), those of the authors' PyTorch code where it differs from their first."""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop
from metarl.supervised.presets.classifier_baseline import OPTIMISERS, augment_for
from metarl.supervised.presets.pretraining import Pretraining


@dataclass(frozen=True)
class Config:
    """How a network is pre-trained, and what is learned of it on episodes."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes())
    """Episodes and optimiser of part 2; milestones are shares of its updates."""
    inner: InnerLoop = field(default_factory=lambda: InnerLoop(100, 100, 0.01, "head", first_order=True))
    """The inner loop, of the head."""
    pretraining: Pretraining = field(default_factory=Pretraining)
    """Part 1."""
    hard: float = 0.5
    """Probability that an update is on hard tasks; 0 for none."""
    pool: int = 100
    """How many of the latest hard classes are kept."""

    def __post_init__(self):
        if not 0 <= self.hard <= 1:
            raise ValueError(f"hard={self.hard}, expected a probability")
        refuse_below({"pool": 1}, vars(self))


def episodes() -> EpisodicTraining:
    """Training on episodes by Adam, whose step size halves after every tenth of it."""
    return EpisodicTraining(
        query=15,
        tasks=2,
        statistics="transductive",
        test_statistics="transductive",
        decay=0.5,
        milestones=tuple(tenth / 10 for tenth in range(1, 10)),
    )


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings for photographs, with a ResNet-12; for characters a Conv4-64, pre-trained by Adam.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if characters(data):
        return Config()
    net = Backbone("resnet12", channels=80, activation="leaky_relu")
    return Config(net, pretraining=Pretraining(augment=augment_for(data), **OPTIMISERS[False]))
