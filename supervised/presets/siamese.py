"""Settings of Siamese networks (Koch et al. 2015)."""

from dataclasses import dataclass, field

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining


@dataclass(frozen=True)
class Config:
    """How Siamese networks are trained to tell same from different."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=EpisodicTraining)
    """Episodes and optimiser."""
    pairs: int | None = None
    """Pairs of one update, half of them of the same class (the paper's: 128); unset, every pair of a support and a query
    image of an episode, those of the same class weighing as much in all as the others."""
    within_groups: bool = True
    """Whether drawn pairs are of one alphabet, where the data have alphabets."""
    bias: float = 4.0
    """Where b starts: pictures with equal features are at first taken for the same with probability sigmoid(b)."""
    affine: bool = False
    """Whether the pictures of drawn pairs are turned, sheared, scaled and moved at random (the paper's)."""

    def __post_init__(self):
        if self.pairs is not None and self.pairs < 2:
            raise ValueError(f"pairs={self.pairs}, expected 2 or more, or None")
        if self.affine and self.pairs is None:
            raise ValueError(
                "affine=True, expected pairs as well (such as 128): what changes episodes is training.augment"
            )
        if self.pairs is not None and self.training.augment != "none":
            raise ValueError(
                f"training.augment={self.training.augment!r} with pairs={self.pairs}, expected 'none': there are no "
                "episodes in training; what changes the pictures of pairs is affine"
            )


def config_for(data: str, way: int, shot: int) -> Config:
    """Koch's network and training for Omniglot by alphabets, whose images must be 105x105; else pairs of episodes.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    if data == "omniglot-lake":
        training = EpisodicTraining(lr=1e-4, decay=0.99, decay_every=1000, query=1)
        return Config(Backbone("koch", norm="none"), training, pairs=128, bias=0.0, affine=True)
    drawings = characters(data)
    return Config(training=EpisodicTraining(way=20, query=5 if drawings else 15, decay_every=10_000))
