"""Settings of MLAP (Amit and Meir 2018)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining

Bound = Literal["mcallester", "seeger", "catoni", "pentina-lampert", "variational"]
"""Names of PAC-Bayes bounds; the last is an objective and no bound."""


def _training() -> EpisodicTraining:
    return EpisodicTraining(tasks=5, lr=3e-3, statistics="transductive", test_statistics="transductive")


@dataclass(frozen=True)
class Config:
    """From what the prior is learned, and how a posterior is found."""

    backbone: Backbone = field(default_factory=lambda: Backbone(channels=32))
    """Network from images to features; all its weights are random."""
    training: EpisodicTraining = field(default_factory=_training)
    """Optimiser, ways, and how many of the tasks an update looks at. The images of a task are `samples` of each class;
    shots and queries are those of the episodes that averages of batch norm are estimated from."""
    tasks: int = 20
    """Tasks that the prior is learned from: always the same, each with a posterior of its own. The paper has 5 and 10."""
    samples: int = 20
    """Images of each class in such a task; fewer where a class has fewer."""
    log_variance: float = -6.0
    """Logarithm of the weights' variances at first; the paper's is -10, and its trainings are far longer."""
    bound: Bound = "seeger"
    """What is minimised."""
    delta: float = 0.1
    """Probability that the bound fails."""
    test_steps: int = 20
    """Steps from the prior to the posterior of a new task."""
    test_lr: float = 0.1
    """Their size, in units of the prior's deviations, above 0."""

    def __post_init__(self):
        if self.training.augment != "none":
            raise ValueError(
                f"training.augment={self.training.augment!r}, expected 'none': the bound holds for images as they are"
            )
        if self.training.weight_decay:
            raise ValueError(
                f"training.weight_decay={self.training.weight_decay}, expected 0: the bound has its own penalty, and "
                "what is trained are distributions of weights"
            )
        refuse_below({"tasks": 2, "samples": 1, "test_steps": 0}, vars(self))
        if not 0 < self.delta < 1:
            raise ValueError(f"delta={self.delta}, expected a probability between 0 and 1")
        if not self.test_lr > 0:
            raise ValueError(f"test_lr={self.test_lr}, expected a number above 0")


def config_for(data: str, way: int, shot: int) -> Config:
    """Settings of our own: the paper has tasks of many images, and none of few shots.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of the tasks in training.
        shot: Support images of each class in testing.
    """
    return Config() if characters(data) else Config(samples=100)
