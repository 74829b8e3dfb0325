"""One training of a few-shot method, as a frozen dataclass (no torch is imported here)."""

from dataclasses import dataclass
from typing import Literal, get_args

from metarl.configs import refuse_below, refuse_large_seed
from metarl.names import unknown

StartWith = Literal["all", "backbone"]
"""Which parameters of another run a training starts from."""


@dataclass(frozen=True)
class FewShotExperiment:
    """What a method is trained on and for, for how long, and what is kept."""

    data: str
    """Name of a data set (`metarl fewshot list`), a folder with a folder of images for each class, or one with files of
features of images (`train.npz` ..)."""
    way: int = 5
    """Classes of an episode in validation and testing; in training too, unless the method says otherwise."""
    shot: int = 1
    """Support images of each class, likewise."""
    query: int = 15
    """Query images of each class in validation."""
    episodes: int = 20_000
    """Episodes to train on, over all ranks. An update of a stage that draws no episodes counts as many as any other."""
    seed: int = 0
    """Everything random in training follows from it; validation and test episodes are the same for all seeds."""
    out: str = "runs"
    """Folder under which the run folder is made."""
    device: str = "auto"
    """auto, cpu or cuda."""
    evaluate_every: int = 500
    """Updates between validations; 0 for none, and no best checkpoint."""
    checkpoint_every: int = 500
    """Updates between checkpoints; the last is always kept."""
    validation_episodes: int = 200
    """Episodes of a validation, always the same ones."""
    start_from: str | None = None
    """Folder of a run whose parameters training starts from; it may be of another method that has all of them, and of
other data, ways and shots."""
    start_with: StartWith = "all"
    """Which parameters of that run: all, or those of the backbone only; the head and whatever else then starts anew."""
    data_root: str | None = None
    """Folder of the data sets; unset, $METARL_DATA, or ~/.cache/metarl."""
    image_size: int | None = None
    """Height and width that images are brought to; unset, what is usual for the data set."""

    def __post_init__(self):
        at_least = {"way": 2, "shot": 1, "query": 1, "episodes": 1, "seed": 0, "validation_episodes": 2}
        at_least |= {"evaluate_every": 0, "checkpoint_every": 0}
        refuse_below(at_least, vars(self))
        refuse_large_seed(self.seed)
        if self.start_with not in get_args(StartWith):
            raise unknown("start_with", self.start_with, get_args(StartWith))
        if self.start_with != "all" and self.start_from is None:
            raise ValueError(f"start_with={self.start_with!r} needs a run to start from: set start_from")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size={self.image_size}, expected 1 pixel or more")
