"""An outer optimiser for each part of a training."""

import bisect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl.meta_optimizers import GradientSteps, Loss


class StagedSteps:
    """One optimiser after the other, each with parameters, step sizes and memory of its own.

    Args:
        parts: Optimisers in order.
        ends: After how many updates each but the last is over, rising.

    Attributes:
        updates: Updates done so far.
    """

    def __init__(self, parts: Sequence[GradientSteps], ends: Sequence[int]):
        if len(ends) != len(parts) - 1 or list(ends) != sorted(ends):
            raise ValueError(f"{len(parts)} optimisers need {len(parts) - 1} rising ends, got {list(ends)}")
        self.parts, self.ends, self.updates = list(parts), list(ends), 0

    def update(self, loss: Loss) -> dict[str, float]:
        """Take a step with the optimiser whose turn it is; see `GradientSteps.update`."""
        found = self.parts[bisect.bisect_right(self.ends, self.updates)].update(loss)
        self.updates += 1
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """What the optimisers remember, named by their place, and the number of updates."""
        states = {
            f"{place}:{name}": value
            for place, part in enumerate(self.parts)
            for name, value in part.state_dict().items()
        }
        return {"updates": torch.tensor(self.updates), **states}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: It is that of another optimiser.
        """
        if "updates" not in tensors:
            raise ValueError("the stored optimiser is not one of several parts; was the config changed?")
        self.updates = int(tensors["updates"])
        for place, part in enumerate(self.parts):
            start = f"{place}:"
            own = {name.removeprefix(start): each for name, each in tensors.items() if name.startswith(start)}
            part.load_state_dict(own)
