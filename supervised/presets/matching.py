"""Settings of matching networks (Vinyals et al. 2016)."""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.presets.prototypical import Distance, check


@dataclass(frozen=True)
class Config:
    """How matching networks compare, and how they are trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=EpisodicTraining)
    """Episodes and optimiser; as many ways as in testing."""
    full_context: bool = False
    """Whether features depend on the whole support, through LSTMs as wide as the features (72 million weights for
    84x84 images)."""
    reads: int = 3
    """How often a query reads from the support with full context."""
    distance: Distance = "cosine"
    """The cosine with every support image (the paper's), or the squared Euclidean distance."""
    scale: float | None = None
    """What closeness is multiplied by before the softmax; unset, 1 for squared distances and 10 for cosines (the paper:
    1 for cosines, whose softmax is nearly flat)."""
    learn_scale: bool = True
    """Whether the scale is trained, from there on."""

    def __post_init__(self):
        check(self.distance, self.scale)
        refuse_below({"reads": 1}, vars(self))


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's: trained on episodes like those of testing.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    query = 5 if characters(data) else 15
    return Config(training=EpisodicTraining(query=query))
