"""Settings of CAVIA (Zintgraf et al. 2019).

The paper has no drawn characters; for them everything is as for photographs, with Conv4-64. The step size of the context
is 1, of a mean loss, in the paper as here; on sine waves results hardly depend on it (`benchmarks/sine_waves.py`), since
what the context does is learned.
"""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop


@dataclass(frozen=True)
class Config:
    """What the context is, and how it adapts."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes(16))
    """Episodes and optimiser."""
    inner: InnerLoop = field(default_factory=lambda: InnerLoop(2, 2, 1.0))
    """The inner loop; `inner.adapted` means nothing here: it is the context."""
    context: int = 100
    """Numbers of the context."""
    block: int = 3
    """Which place of the network it scales and shifts, from 1 (images only)."""

    def __post_init__(self):
        refuse_below({"context": 1, "block": 1}, vars(self))


def episodes(tasks: int) -> EpisodicTraining:
    """Training on episodes by Adam, whose step size falls by a tenth every 5,000 updates."""
    return EpisodicTraining(
        query=15,
        tasks=tasks,
        statistics="transductive",
        test_statistics="transductive",
        decay=0.9,
        decay_every=5_000,
        max_grad_value=10.0,
    )


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings; 32 filters for photographs, which is also MAML's network (the paper goes to 512).

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    if data == "sinusoid":
        training = EpisodicTraining(
            query=10, tasks=25, statistics="transductive", test_statistics="transductive"
        )
        return Config(Backbone("mlp", channels=40, norm="none"), training, InnerLoop(1, 1, 1.0), context=5)
    net = Backbone() if characters(data) else Backbone(channels=32)
    return Config(net, episodes(16 if shot == 1 else 8))
