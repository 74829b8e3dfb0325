"""Classification tasks that are one task in disguise: labels permuted, or pixels swapped (Amit and Meir 2018, section 5).

What tasks have in common is the images themselves, or what the labels of swapped images follow from. A prior learned from
some of them is narrow where weights can stay as they are, and wide where they must change.

Legend: N images, C channels, H and W height and width, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.names import unknown
from metarl.supervised.classification import Labelled


@dataclass(frozen=True)
class Disguise:
    """What a task does to images and labels."""

    labels: Tensor | None = None
    """New label of each class, (K,); None: as they are."""
    pixels: Tensor | None = None
    """Which pixel goes where, (H W,); None: as they are."""

    def of(self, data: Labelled) -> Labelled:
        """The data as the task has them."""
        images, labels = data
        if self.pixels is not None:
            images = images.flatten(2)[:, :, self.pixels.to(images.device)].view_as(images)
        return Labelled(images, labels if self.labels is None else self.labels.to(labels.device)[labels])


def permuted_labels(classes: int, pixels: int, generator: torch.Generator, swaps: int = 0) -> Disguise:
    """Classes in random order.

    Args:
        classes: K.
        pixels: Not needed.
        generator: On the CPU.
        swaps: Not needed.
    """
    return Disguise(labels=torch.randperm(classes, generator=generator))


def swapped_pixels(classes: int, pixels: int, generator: torch.Generator, swaps: int = 200) -> Disguise:
    """Pairs of pixels change places, one pair after the other, the same in all images.

    Args:
        classes: Not needed.
        pixels: H W.
        generator: On the CPU.
        swaps: How many pairs.
    """
    order = torch.arange(pixels)
    for a, b in torch.randint(pixels, (swaps, 2), generator=generator).tolist():
        order[[a, b]] = order[[b, a]]
    return Disguise(pixels=order)


ENVIRONMENTS: dict[str, Callable[[int, int, torch.Generator, int], Disguise]] = {
    "permuted-labels": permuted_labels,
    "swapped-pixels": swapped_pixels,
}
"""Kinds of disguise by name."""


def disguises(
    environment: str, number: int, classes: int, pixels: int, seed: int, swaps: int = 200
) -> list[Disguise]:
    """Tasks of an environment.

    Args:
        environment: A key of `ENVIRONMENTS`.
        number: How many.
        classes: K.
        pixels: H W.
        seed: They follow from it.
        swaps: Pairs of pixels.

    Raises:
        ValueError: There is no such environment.
    """
    if environment not in ENVIRONMENTS:
        raise unknown("environment", environment, ENVIRONMENTS)
    generator = torch.Generator().manual_seed(seed)
    return [ENVIRONMENTS[environment](classes, pixels, generator, swaps) for _ in range(number)]
