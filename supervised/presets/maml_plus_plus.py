"""Settings of MAML++ (Antoniou et al. 2019).

Step sizes are those of a mean loss, in the authors' code as here. First-order gradients in the beginning are left out,
as in the authors' configurations. The outer step size falls along a cosine for all data, as in the paper; in the
authors' configuration for mini-ImageNet it stays (`--training.anneal none`). The paper has no regression; there the
outer gradient is bounded as for photographs, without which the learned step sizes make training diverge.
"""

from dataclasses import dataclass, field

from metarl.supervised.datasets import characters
from metarl.supervised.methods.config import Backbone, EpisodicTraining, InnerLoop
from metarl.supervised.presets import maml
from metarl.supervised.presets.maml import backbone_for


@dataclass(frozen=True)
class Config(maml.Config):
    """How a network adapts to a task, and which parts of MAML++ are switched on."""

    backbone: Backbone = field(default_factory=Backbone)
    """Network from images to features."""
    training: EpisodicTraining = field(default_factory=lambda: episodes(1, 8))
    """Episodes and optimiser; `anneal` and `final_lr` are the cosine."""
    inner: InnerLoop = field(default_factory=lambda: InnerLoop(5, 5, 0.1))
    """The inner loop; where step sizes are learned they start at `inner.lr`."""
    multi_step_share: float = 0.1
    """Share of the training, from its beginning, in which the loss counts every inner step; 0 for none of it."""
    first_order_share: float = 0.0
    """Share of the training, from its beginning, with first-order gradients."""
    per_step_statistics: bool = True
    """Whether batch norm keeps averages for every inner step."""
    per_step_affine: bool = True
    """Whether batch norm has scale and shift for every inner step, which then do not adapt."""
    learned_rates: bool = True
    """Whether every tensor has a learned step size at every inner step."""

    def __post_init__(self):
        for name in ("multi_step_share", "first_order_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}, expected a share from 0 to 1")
        if self.inner.steps < 1:
            raise ValueError("inner.steps=0, expected 1 or more")


def episodes(query: int, tasks: int, max_grad_value: float | None = None) -> EpisodicTraining:
    """Training on episodes by Adam along a cosine."""
    return EpisodicTraining(
        query=query,
        tasks=tasks,
        statistics="transductive",
        test_statistics="transductive",
        anneal="cosine",
        final_lr=1e-5,
        max_grad_value=max_grad_value,
        kept=5,
    )


def config_for(data: str, way: int, shot: int) -> Config:
    """The paper's settings: 64 filters for characters, 48 for photographs, 5 inner steps.

    Args:
        data: Name of a data set.
        way: Classes of an episode in testing, and of training.
        shot: Support images of each class, likewise; support points of a regression.
    """
    if data == "sinusoid":
        return Config(backbone_for(data), episodes(maml.POINTS, 25, 10.0), InnerLoop(5, 5, 0.01))
    if characters(data):
        return Config()
    return Config(Backbone(channels=48), episodes(15, 2, 10.0), InnerLoop(5, 5, 0.01), multi_step_share=0.15)
