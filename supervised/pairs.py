"""Pairs of pictures, half of them of the same class, drawn as tensor operations.

Legend: B pairs, K classes, G groups, C channels, H and W' height and width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.supervised.class_store import ClassStore


class Pairs(NamedTuple):
    """Two pictures each, and whether they show the same."""

    first: Tensor
    """Shape (B, C, H, W')."""
    second: Tensor
    """Shape (B, C, H, W')."""
    same: Tensor
    """1 where both are of one class, else 0, float32, shape (B,)."""


class PairSampler:
    """Draws pairs from a store of classes.

    Args:
        store: Images by class.
        within_groups: Whether both classes of a pair are of one group, such as an alphabet, where the store has groups;
            every group is then as likely as any other. Turned classes have groups of their own.

    Raises:
        ValueError: A class has one image only, or a group has one class only; the message names it.
    """

    def __init__(self, store: ClassStore, within_groups: bool = True):
        self.store = store
        self._sizes = store.sizes
        self._check_images()
        names = sorted(set(store.groups)) if store.groups and within_groups else [""]
        number = {name: place for place, name in enumerate(names)}
        groups = store.groups if len(names) > 1 else names * len(store.names)
        base = torch.tensor([number[name] for name in groups])
        turns = torch.arange(store.rotations) if len(names) > 1 else torch.zeros(store.rotations).long()
        of_class = (base + turns.unsqueeze(1) * len(names)).flatten()
        counts = of_class.bincount()
        if int(counts.min()) < 2:
            where = f"of group '{names[int(counts.argmin()) % len(names)]}' " if len(names) > 1 else ""
            raise ValueError(
                f"pairs of two classes need two classes, but {int(counts.min())} {where}is all there is: take "
                "more classes, or within_groups=False"
            )
        self._members = of_class.argsort(stable=True)
        self._counts, self._firsts = counts, counts.cumsum(0) - counts

    def _check_images(self) -> None:
        size, smallest = (int(value) for value in self._sizes.min(0))
        if size < 2:
            name = self.store.names[smallest % len(self.store.names)]
            raise ValueError(
                f"class '{name}' has {size} images, but a pair of one class needs 2: leave it out with store.subset"
            )

    def draw(self, pairs: int, generator: torch.Generator) -> Pairs:
        """Pairs of two different pictures, every other one of the same class.

        Args:
            pairs: B.
            generator: On the CPU; its state gives the same pairs on every device.
        """
        classes, rows = self.indices(pairs, generator)
        device, num = self.store.images.device, len(self.store.names)
        turns = (classes // num).to(device) if self.store.rotations > 1 else None
        pictures = self.store.pictures(rows.to(device), turns)
        same = (classes[0] == classes[1]).to(device, torch.float32)
        return Pairs(pictures[0], pictures[1], same)

    def indices(self, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What `draw` shows, as numbers on the CPU.

        Returns:
            Classes and rows of the store's images, both int64 of shape (2, B).
        """
        group = torch.randint(len(self._counts), (pairs,), generator=generator)
        place = two_different(self._counts[group], generator)
        classes = self._members[self._firsts[group] + place]
        alike = torch.arange(pairs) % 2 == 0
        classes[1] = torch.where(alike, classes[0], classes[1])
        places = two_different(self._sizes[classes[0]], generator)
        draws = torch.rand(pairs, generator=generator, dtype=torch.float64)  # float32 could round up to 1
        other = (draws * self._sizes[classes[1]]).long()
        places[1] = torch.where(alike, places[1], other)
        return classes, self.store.starts[classes % len(self.store.names)] + places


def two_different(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Two different numbers in [0, size) for each size, of at least 2: (B,) to int64 (2, B)."""
    draws = torch.rand(2, len(sizes), generator=generator, dtype=torch.float64)
    first = (draws[0] * sizes).long()
    second = (draws[1] * (sizes - 1)).long()
    return torch.stack([first, second + (second >= first)])
