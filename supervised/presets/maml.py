"""Settings of MAML (Finn et al. 2017), which others of its family begin with.

Step sizes belong to a loss that is a mean over the support. The authors' code divides the summed loss by the shots
only, so that its step sizes of 0.4 (Omniglot, 5-way), 0.1 (Omniglot, 20-way) and 0.01 (mini-ImageNet) are 2, 2 and 0.05
here. A step of 2 needs their start of the head (normal, standard deviation 1); from torch's start training does not get
going with it, and the step is 0.4.
"""

from dataclasses import dataclass, field

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop

POINTS = 10
"""Query points of a regression in training."""


@dataclass(frozen=True)
class Config:
    """How a network adapts to a task, and how its start is trained."""

    backbone: Backbone = field(default_factory=lambda: Backbone(halve="stride"))
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes(5, 1))
    """Episodes and optimiser."""
    inner: InnerLoop = field(default_factory=InnerLoop)
    """The inner loop."""
    zero_head: bool = False
    """Whether every inner loop starts from a head of zeros (the zeroing trick of Kao et al. 2022), whose rows are
    all alike and fit any number of ways; but for Meta-SGD, whose step sizes differ from row to row."""
    head_lr: float | None = None
    """Inner step size of the head; unset, `inner.lr`, as for all other weights. Where step sizes are learned, it is the
    first value of the head's."""


def episodes(query: int, tasks: int, max_grad_value: float | None = None) -> EpisodicTraining:
    """Training on episodes by Adam, with the statistics of every batch by itself."""
    return EpisodicTraining(
        query=query,
        tasks=tasks,
        statistics="transductive",
        test_statistics="transductive",
        max_grad_value=max_grad_value,
    )


def backbone_for(data: str) -> Backbone:
    """Conv4-64 with strides for characters, Conv4-32 with pooling for photographs, two layers of 40 for functions."""
    if data == "sinusoid":
        return Backbone("mlp", channels=40, norm="none")
    return Backbone(halve="stride") if characters(data) else Backbone(channels=32)


def training_for(data: str, way: int, shot: int) -> EpisodicTraining:
    """Episodes and optimiser of the paper, for a data set, ways and shots."""
    if data == "sinusoid":
        return episodes(POINTS, 25)
    if characters(data):
        return episodes(shot, 32 if way < 20 else 16)
    return episodes(15, 4 if shot == 1 else 2, max_grad_value=10.0)


def inner_for(data: str, way: int) -> InnerLoop:
    """The inner loop of the paper, with step sizes for a mean loss."""
    if data == "sinusoid":
        return InnerLoop(steps=1, test_steps=1, lr=0.01)
    if characters(data):
        return InnerLoop(steps=1, test_steps=3) if way < 20 else InnerLoop(steps=5, test_steps=5)
    return InnerLoop(steps=5, test_steps=10, lr=0.05)


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    return Config(backbone_for(data), training_for(data, way, shot), inner_for(data, way))
