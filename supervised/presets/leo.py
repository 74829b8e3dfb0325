"""Settings of LEO (Rusu et al. 2019)."""

from dataclasses import dataclass, field

from metarl.configs import refuse_below
from metarl.supervised.datasets import characters, holds_features
from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.presets.classifier_baseline import (
    OPTIMISERS,
    augment_for,
    backbone_for,
    milestones_for,
)
from metarl.supervised.presets.pretraining import Pretraining


def _training(lr: float) -> EpisodicTraining:
    return EpisodicTraining(query=15, tasks=12, lr=lr, max_grad_value=0.1, max_grad_norm=0.1)


@dataclass(frozen=True)
class Config:
    """How a classifier is coded and adapted, and how this is trained."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: _training(2.739e-4))
    """Episodes and optimiser."""
    pretraining: Pretraining = field(
        default_factory=lambda: Pretraining(decay=0.1, milestones=(0.9,), **OPTIMISERS[True])
    )
    """First part, in which the network learns to classify all training classes; `share` 0 for none."""
    frozen: bool = True
    """Whether episodes leave the network as it is, as in the paper. It then normalises by the averages that hold when
    they begin, whatever `training.statistics` says."""
    latent: int = 64
    """Numbers of a class's code."""
    hidden: int = 128
    """Units of the relation network's layers."""
    steps: int = 5
    """Inner steps on the code."""
    finetuning_steps: int = 5
    """Inner steps on the weights that come of it."""
    latent_lr: float = 1.0
    """First step size of every number of the code, above 0; learned."""
    finetuning_lr: float = 1e-3
    """First step size of every weight of a class, above 0; learned."""
    dropout: float = 0.3077
    """Share of the features that the encoder does not see in training."""
    kl: float = 0.756
    """Factor of the codes' divergence from a standard normal distribution."""
    encoder_penalty: float = 5.757e-6
    """Factor of the squared distance of the codes from what the inner steps make of them."""
    l2: float = 3.62e-10
    """Factor of the squared length of all weights, times one half."""
    orthogonality: float = 0.188
    """Factor of the squared correlations of the decoder's directions."""

    def __post_init__(self):
        refuse_below({"latent": 1, "hidden": 1, "steps": 0, "finetuning_steps": 0}, vars(self))
        for name in ("latent_lr", "finetuning_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}, expected a number above 0")
        for name in ("kl", "encoder_penalty", "l2", "orthogonality"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}, expected 0 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}, expected a share from 0 to less than 1")


PUBLISHED = {
    ("mini-imagenet", False): (2.739e-4, 3.62e-10, 0.188, 0.3077, 0.756, 5.757e-6),
    ("mini-imagenet", True): (4.102e-4, 8.54e-9, 1.52e-3, 0.3003, 0.4664, 2.66e-7),
    ("tiered-imagenet", False): (8.659e-4, 4.15e-10, 5.45e-3, 0.475, 2.03e-3, 8.3e-5),
    ("tiered-imagenet", True): (6.11e-4, 1.69e-10, 2.48e-2, 0.415, 1.62, 2.67e-5),
}
"""Outer step size, l2, orthogonality, dropout, kl, encoder penalty, by data and whether there is more than one shot: what
the authors' code says."""


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings, with those of mini-ImageNet for other data; ResNet-12 features, of characters Conv4-64.

    Where the data are features already, as in the paper, there is neither a network nor a first part.

    Args:
        data: Name of a data set, or a folder.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise.
    """
    known = data if data == "tiered-imagenet" else "mini-imagenet"
    lr, l2, orthogonality, dropout, kl, encoder_penalty = PUBLISHED[known, shot > 1]
    supplied = holds_features(data)
    return Config(
        Backbone("identity") if supplied else backbone_for(data),
        _training(lr),
        pretraining=Pretraining(
            0.0 if supplied else 0.5,
            augment=augment_for(data),
            decay=0.1,
            milestones=milestones_for(data),
            **OPTIMISERS[characters(data)],
        ),
        dropout=dropout,
        kl=kl,
        encoder_penalty=encoder_penalty,
        l2=l2,
        orthogonality=orthogonality,
    )
