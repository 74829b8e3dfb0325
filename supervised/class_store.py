"""Images of classes, or features of them, as one tensor on one device.

Legend: C channels, H and W' height and width, D features.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor


class ClassStore:
    """All images of some classes, sorted by class, as bytes.

    Omniglot's rotations are classes of their own: with `rotations=4` class c is class c % num of the images, turned by
    c // num quarters, where num is the number of classes that have images. Turning is done when pictures are asked for.

    Args:
        images: uint8, shape (n, C, H, W'), those of the first class first; or features that were computed before,
            float32, shape (n, D, 1, 1), which `pictures` gives as they are.
        starts: Where each class begins, and at the end n, int64, shape (num + 1,).
        names: Of the classes, num.
        rotations: 1, or 4 for square images.
        mean: Of the channels, taken off the images (which are in [0, 1]); unset, 0.
        std: Of the channels, which images are divided by; unset, 1.
        groups: What each class belongs to, such as an alphabet.

    Raises:
        ValueError: The tensors do not fit together.
    """

    def __init__(
        self,
        images: Tensor,
        starts: Tensor,
        names: Sequence[str],
        *,
        rotations: int = 1,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        groups: Sequence[str] | None = None,
    ):
        features = images.dtype == torch.float32 and images.shape[2:] == (1, 1)
        if images.dim() != 4 or not (features or images.dtype == torch.uint8):
            got = f"{images.dtype} of shape {tuple(images.shape)}"
            raise ValueError(
                f"images must be uint8 of shape (n, C, H, W), or features float32 of shape (n, D, 1, 1), got {got}"
            )
        if len(starts) != len(names) + 1 or int(starts[0]) != 0 or int(starts[-1]) != len(images):
            raise ValueError(
                f"starts of {len(names)} classes must be {len(names) + 1} numbers from 0 to {len(images)}, got "
                f"{len(starts)} from {int(starts[0])} to {int(starts[-1])}"
            )
        if rotations not in (1, 4) or (rotations == 4 and images.shape[2] != images.shape[3]):
            raise ValueError(
                f"rotations must be 1, or 4 for square images; got {rotations} for {tuple(images.shape)}"
            )
        if groups is not None and len(groups) != len(names):
            raise ValueError(f"{len(names)} classes need as many groups, got {len(groups)}")
        self.images, self.starts = images, starts.to("cpu", torch.int64)
        self.names, self.rotations = list(names), rotations
        self.groups = None if groups is None else list(groups)
        channels = images.shape[1]
        self.mean, self.std = tuple(mean) or (0.0,) * channels, tuple(std) or (1.0,) * channels

    @classmethod
    def of_labelled(
        cls, images: Tensor, labels: Sequence[str], group_of: Mapping[str, str] | None = None
    ) -> "ClassStore":
        """A store of images in any order; classes are sorted by name.

        Args:
            images: As the class has them.
            labels: The class of each, n.
            group_of: What each class belongs to.

        Raises:
            ValueError: There are not as many labels as images.
        """
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images need as many labels, got {len(labels)}")
        names = sorted(set(labels))
        places = {name: number for number, name in enumerate(names)}
        numbers = torch.tensor([places[label] for label in labels], dtype=torch.int64)
        if (numbers.diff() < 0).any():
            images = images[numbers.argsort(stable=True).to(images.device)]
        starts = torch.zeros(len(names) + 1, dtype=torch.int64)
        starts[1:] = torch.bincount(numbers, minlength=len(names)).cumsum(0)
        groups = None if group_of is None else [group_of[name] for name in names]
        return cls(images, starts, names, groups=groups)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.images.device

    @property
    def has_pictures(self) -> bool:
        """Whether these are images, not features of them."""
        return self.images.dtype == torch.uint8

    @property
    def num_classes(self) -> int:
        """Classes, turned ones counted."""
        return len(self.names) * self.rotations

    @property
    def image(self) -> tuple[int, int, int]:
        """C, H, W'."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def sizes(self) -> Tensor:
        """Images of each class, int64, shape (num_classes,), on the CPU."""
        return self.starts.diff().repeat(self.rotations)

    @cached_property
    def md5(self) -> str:
        """Of the images' bytes: what a result was found with."""
        return hashlib.md5(self.images.cpu().contiguous().numpy().tobytes()).hexdigest()

    def check_augment(self, augment: str) -> None:
        """Refuse to change features like images.

        Args:
            augment: A key of `metarl.supervised.augmentation.AUGMENTATIONS`.

        Raises:
            ValueError: They are features, and `augment` is not "none".
        """
        if augment != "none" and not self.has_pictures:
            raise ValueError(
                f"augment={augment!r} changes images, but the data are features: take augment 'none'"
            )

    def __len__(self) -> int:
        """Images, turned ones not counted."""
        return len(self.images)

    def __repr__(self) -> str:
        return f"ClassStore({self.num_classes} classes, {len(self)} images of {self.image})"

    def pictures(self, index: Tensor, turns: Tensor | None = None) -> Tensor:
        """Images ready for a network.

        Args:
            index: Rows of `images`, int64 of any shape, on their device.
            turns: Quarter turns (counter-clockwise) of each, of the same shape; None for none.

        Returns:
            float32, shape (*index.shape, C, H, W'): in [0, 1], less `mean`, divided by `std`; features as they are.
        """
        flat = index.reshape(-1)
        chosen = self.images.index_select(0, flat)
        if not self.has_pictures:
            return chosen.view(*index.shape, *self.image)
        if turns is not None:
            chosen = self._turned(chosen, turns.reshape(-1))
        pictures = chosen.to(torch.float32)
        mean, inverse = self._moments
        pictures = torch.addcmul(-mean * inverse, pictures, inverse / 255)
        return pictures.view(*index.shape, *self.image)

    def to(self, device: torch.device | str) -> "ClassStore":
        """The same on another device."""
        return self._with(self.images.to(device), self.starts, self.names, self.groups)

    def subset(self, classes: Sequence[int]) -> "ClassStore":
        """Only some of the classes that have images (not counting turned ones), in the order given.

        Raises:
            ValueError: There is no such class, or none is left.
        """
        wrong = [each for each in classes if not 0 <= each < len(self.names)]
        if wrong or not len(classes):
            raise ValueError(
                f"classes must be one or more numbers from 0 to {len(self.names) - 1}, got {wrong or 'none'}"
            )
        sizes = self.starts.diff()[list(classes)]
        rows = torch.cat([torch.arange(self.starts[c], self.starts[c + 1]) for c in classes])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        groups = None if self.groups is None else [self.groups[c] for c in classes]
        images = self.images[rows.to(self.images.device)]
        return self._with(images, starts, [self.names[c] for c in classes], groups)

    def _with(
        self, images: Tensor, starts: Tensor, names: list[str], groups: list[str] | None
    ) -> "ClassStore":
        return ClassStore(
            images, starts, names, rotations=self.rotations, mean=self.mean, std=self.std, groups=groups
        )

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and one over std, shape (C, 1, 1) each, on the images' device."""
        device = self.images.device
        mean, std = (torch.tensor(each, device=device).view(-1, 1, 1) for each in (self.mean, self.std))
        return mean, 1 / std

    @cached_property
    def _places(self) -> Tensor:
        """Which pixel each pixel of a turned image was, shape (4, H W')."""
        height, width = self.images.shape[2:]
        pixels = torch.arange(height * width, device=self.images.device).view(height, width)
        return torch.stack([torch.rot90(pixels, turn).flatten() for turn in range(4)])

    def _turned(self, images: Tensor, turns: Tensor) -> Tensor:
        flat = images.flatten(2)
        places = self._places[turns].unsqueeze(1).expand_as(flat)
        return flat.gather(2, places).view_as(images)
