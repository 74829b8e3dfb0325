"""What the methods' configurations are made of (no torch is imported here)."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from metarl.configs import refuse_below

Statistics = Literal["joint", "transductive", "support", "running", "one_query"]
"""By which images batch norm normalises: support and query together; each by itself; both by the support's; by averages
of training batches; or the support with one query at a time."""

Adapted = Literal["all", "no-norms", "head"]
"""What an inner loop changes: all weights; all but scale and shift of norms; or the linear head only."""

Augment = Literal["none", "crop", "resized_crop", "affine"]
"""Random changes of training images: moved by a few pixels; a window stretched to the full size and mirrored by chance;
turned, sheared, scaled and moved. Windows are not for characters: a mirrored one is another character."""

TRANSDUCTIVE: tuple[Statistics, ...] = ("joint", "transductive")
"""Normalisation modes in which a query's class depends on the episode's other queries."""


def check_augment(augment: str, name: str) -> None:
    """Refuse a name that is no random change.

    Args:
        augment: What was given.
        name: What it was given for, such as "training.augment".

    Raises:
        ValueError: It is none of `Augment`.
    """
    if augment not in get_args(Augment):
        raise ValueError(f"{name}={augment!r}, expected one of {', '.join(get_args(Augment))}")


@dataclass(frozen=True)
class Backbone:
    """The network from images to features."""

    name: Literal["conv4", "resnet12", "wrn-28-10", "koch", "relation", "mlp", "identity"] = "conv4"
    """Architecture; identity for data that are features already."""
    channels: int = 64
    """Filters of every block (conv4, relation), units of both layers (mlp). For resnet12 64 means blocks of
64-128-256-512, 80 of 64-160-320-640; the others have a width of their own."""
    halve: Literal["pool", "stride"] = "pool"
    """How conv4 halves its images; with stride the features are the spatial mean."""
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    """Normalisation of every block."""
    activation: Literal["relu", "leaky_relu", "silu"] = "relu"
    """Nonlinearity of every block."""

    def __post_init__(self):
        refuse_below({"channels": 1}, vars(self), "backbone.")


@dataclass(frozen=True)
class EpisodicTraining:
    """How a method is trained on episodes."""

    way: int | None = None
    """Classes of a training episode; unset, as many as in testing."""
    shot: int | None = None
    """Support images of each class; unset, as many as in testing."""
    query: int = 15
    """Query images of each class."""
    tasks: int = 1
    """Episodes of one update."""
    augment: Augment = "none"
    """Random changes of the images of training episodes, each by itself."""
    statistics: Statistics = "joint"
    """By which images batch norm normalises in training."""
    test_statistics: Statistics = "running"
    """The same in validation, testing and prediction."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Outer optimiser."""
    lr: float = 1e-3
    """Its first step size."""
    momentum: float = 0.0
    """Of SGD."""
    weight_decay: float = 0.0
    """Factor of the squared length of the weights in the loss (times one half), as the papers' SGD has it. What an update
    rule learns (step sizes, matrices) is no weight."""
    decay: float = 0.5
    """Factor of the step size at every milestone."""
    decay_every: int | None = None
    """Updates between milestones."""
    milestones: tuple[float, ...] = ()
    """Shares of the training after which the step size decays, in place of `decay_every`."""
    anneal: Literal["none", "linear", "cosine"] = "none"
    """Lets the step size fall steadily from `lr` to `final_lr` over the whole training, in place of milestones."""
    final_lr: float = 0.0
    """Where it ends."""
    max_grad_norm: float | None = None
    """Bound on the gradient's norm."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What convolutions multiply in while training. Validation, testing and prediction use float32 in any case, which
    PyTorch rounds to TF32 in a GPU's convolutions."""
    max_grad_value: float | None = None
    """Bound on every entry of the gradient, on both sides of zero."""
    cuda_graph: bool = True
    """On a GPU, record the work of an update once and replay it, which saves launching its thousands of parts."""
    kept: int = 1
    """States with the best validations that are kept, for `metarl fewshot evaluate --ensemble`."""

    def __post_init__(self):
        at_least = {"query": 1, "tasks": 1, "kept": 1, "way": 2, "shot": 1, "decay_every": 1}
        refuse_below(at_least, vars(self), "training.")
        check_augment(self.augment, "training.augment")
        for name in ("lr", "max_grad_norm", "max_grad_value", "decay"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"training.{name}={value}, expected a number above 0")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"training.{name}={getattr(self, name)}, expected 0 or more")
        if self.anneal != "none":
            self._check_annealing()
        for share in self.milestones:
            if not 0 <= share <= 1:
                raise ValueError(
                    f"training.milestones: {share}, expected shares of the training, from 0 to 1"
                )

    def _check_annealing(self) -> None:
        if self.milestones or self.decay_every:
            raise ValueError(
                f"training.anneal={self.anneal!r} lets the step size fall all the time, expected no milestones: leave "
                "out training.milestones and training.decay_every, and where the method's preset has them, say "
                "--training.milestones with nothing behind it and --training.decay-every None"
            )
        if not 0 <= self.final_lr <= self.lr:
            raise ValueError(
                f"training.final_lr={self.final_lr}, expected a step size from 0 to that at the start, "
                f"training.lr={self.lr}"
            )


@dataclass(frozen=True)
class InnerLoop:
    """How a task is adapted to."""

    steps: int = 1
    """Inner steps in training."""
    test_steps: int = 3
    """Inner steps in validation, testing and prediction."""
    lr: float = 0.4
    """Step size, above 0, of a loss that is a mean over the support; where step sizes are learned, their first value."""
    adapted: Adapted = "all"
    """What the inner loop changes: all weights; all but scale and shift of norms; or the linear head only."""
    first_order: bool = False
    """Whether the inner gradient counts as a constant in the outer one."""
    clip: float | None = None
    """Bound on every entry of the inner gradient, on both sides of zero; unset, none."""

    def __post_init__(self):
        refuse_below({"steps": 0, "test_steps": 0}, vars(self), "inner.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"inner.lr={self.lr}, expected a number above 0")
        if self.adapted not in get_args(Adapted):
            raise ValueError(f"inner.adapted={self.adapted!r}, expected 'all', 'no-norms' or 'head'")
