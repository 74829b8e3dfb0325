"""Settings of Reptile (Nichol et al. 2018).

Validation and testing take the support with one query at a time, as the paper's main figures; `metarl fewshot evaluate`
shows those of whole query batches beside. Step sizes are Adam's, they do not depend on how the loss is scaled.
"""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop
from metarl.supervised.presets.maml import backbone_for


@dataclass(frozen=True)
class Config:
    """How a network trains on a task, and how its start follows."""

    backbone: Backbone = field(default_factory=lambda: Backbone(halve="stride"))
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes(10))
    """Episodes (their queries are for the log only) and the outer step size, which falls to 0."""
    inner: InnerLoop = field(default_factory=lambda: InnerLoop(5, 50, 1e-3, first_order=True))
    """The inner loop, by Adam without momentum; `inner.clip` and `inner.first_order` mean nothing here."""
    batch: int = 10
    """Support images of an inner step in training."""
    test_batch: int = 5
    """Support images of an inner step in validation, testing and prediction."""
    keep_averages: bool = True
    """Whether the inner optimiser's averages of squared gradients stay from one update to the next; otherwise they start
    anew with every task."""

    def __post_init__(self):
        refuse_below({"batch": 1, "test_batch": 1}, vars(self))
        if self.inner.steps < 1:
            raise ValueError("inner.steps=0, expected 1 or more: without steps there is nowhere to move to")
        if self.inner.adapted != "all":
            raise ValueError(
                f"inner.adapted={self.inner.adapted!r}, expected 'all': what does not adapt would never be trained"
            )


def episodes(shot: int, tasks: int = 5) -> EpisodicTraining:
    """Training on episodes by steps towards where the inner loop leads."""
    return EpisodicTraining(
        shot=shot,
        query=1,
        tasks=tasks,
        statistics="transductive",
        test_statistics="one_query",
        optimizer="sgd",
        lr=1.0,
        anneal="linear",
    )


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings; those for sine waves are our own.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class in testing (training has 10 or 15); support points of a regression.
    """
    net = backbone_for(data)
    if data == "sinusoid":
        training = EpisodicTraining(
            shot=20, query=10, tasks=5, optimizer="sgd", lr=1.0, anneal="linear", statistics="transductive"
        )
        return Config(net, training, InnerLoop(10, 32, 5e-3, first_order=True), batch=10, test_batch=10)
    if not characters(data):
        inner = InnerLoop(8, 50, 1e-3, first_order=True)
        return Config(net, episodes(15), inner, batch=10, test_batch=5 if shot == 1 else 15)
    if way < 20:
        return Config(net, episodes(10), InnerLoop(5, 50, 1e-3, first_order=True))
    return Config(net, episodes(10), InnerLoop(10, 50, 5e-4, first_order=True), batch=20, test_batch=10)
