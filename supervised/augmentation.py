"""Random changes of images that leave their class as it is: pure functions of a batch and a generator.

Everything random is drawn on the CPU, so a generator's state gives the same changes on every device. What comes into
view from outside an image is 0: black, or the mean where images are normalised.

Legend: N images, C channels, H and W height and width.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Some images mirrored, left to right.

    Args:
        images: Shape (N, C, H, W).
        generator: On the CPU.
        probability: Of each image to be mirrored.
    """
    chosen = torch.rand(len(images), generator=generator) < probability
    return torch.where(chosen.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


def crop(images: Tensor, generator: torch.Generator, padding: int) -> Tensor:
    """Every image moved by up to `padding` whole pixels up or down, and left or right, without interpolation.

    Args:
        images: Shape (N, C, H, W).
        generator: On the CPU.
        padding: Pixels of 0 added on each side before a window of the old size is cut out.

    Raises:
        ValueError: The padding is negative.
    """
    if padding < 0:
        raise ValueError(f"padding={padding}, expected 0 or more pixels")
    number, _, height, width = images.shape
    first = torch.randint(2 * padding + 1, (2, number, 1), generator=generator)
    rows, columns = ((first[k] + torch.arange((height, width)[k])).to(images.device) for k in range(2))
    padded = F.pad(images, (padding,) * 4)
    place = torch.arange(number, device=images.device).view(-1, 1, 1)
    return padded.transpose(1, 3)[place, columns.unsqueeze(2), rows.unsqueeze(1)].transpose(1, 3)


def resized_crop(
    images: Tensor,
    generator: torch.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random window of every image, stretched to the old size by bilinear interpolation.

    Args:
        images: Floats, shape (N, C, H, W).
        generator: On the CPU.
        area: Smallest and largest share of the image in the window, uniform between them.
        ratio: Smallest and largest width over height, of the window in a square image; uniform in the logarithm. A
            window that would be wider or higher than the image is as wide or high as it.

    Raises:
        ValueError: The bounds are not in order, an area is not in (0, 1], or a ratio is not positive.
    """
    _check("area", area, 1.0)
    _check("ratio", ratio, math.inf)
    share, shape, left, top = torch.rand(4, len(images), generator=generator)
    share = area[0] + (area[1] - area[0]) * share
    low, high = (math.log(each) for each in ratio)
    stretch = (low + (high - low) * shape).exp()
    width, height = (share * stretch).sqrt().clamp(max=1), (share / stretch).sqrt().clamp(max=1)
    zero = torch.zeros(len(images))
    rows = [width, zero, (2 * left - 1) * (1 - width), zero, height, (2 * top - 1) * (1 - height)]
    return _warped(images, torch.stack(rows, 1).view(-1, 2, 3), outside="border")


def affine(
    images: Tensor,
    generator: torch.Generator,
    *,
    degrees: float = 10.0,
    shear: float = 0.3,
    scale: tuple[float, float] = (0.8, 1.2),
    translation: float = 2.0,
    probability: float = 0.5,
) -> Tensor:
    """Every image turned, sheared, scaled and moved, each with a chance of its own (Koch et al. 2015, theirs by default).

    Args:
        images: Floats, shape (N, C, H, W).
        generator: On the CPU.
        degrees: Largest turn, either way.
        shear: Largest shear along each axis.
        scale: Smallest and largest factor of each axis.
        translation: Largest move along each axis, in pixels.
        probability: Of each kind of change, and for shear, scale and translation of each axis.

    Raises:
        ValueError: The factors are not positive or not in order.
    """
    _check("scale", scale, math.inf)
    number, size = len(images), torch.tensor([images.shape[3], images.shape[2]])
    used = torch.rand(number, 7, generator=generator) < probability
    amounts = torch.rand(number, 7, generator=generator) * used
    signed = torch.where(used, 2 * amounts - 1, 0.0)
    angle = signed[:, 0] * math.radians(degrees)
    shears, moves = signed[:, 1:3] * shear, signed[:, 3:5] * translation * 2 / size
    factors = torch.where(used[:, 5:], scale[0] + (scale[1] - scale[0]) * amounts[:, 5:], 1.0)
    return _warped(images, _inverse(angle, shears, factors, moves, size), outside="zeros")


def _inverse(angle: Tensor, shears: Tensor, factors: Tensor, moves: Tensor, size: Tensor) -> Tensor:
    """Where each place of the new image was in the old one, (N, 2, 3), in coordinates from -1 to 1."""
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    slant = torch.eye(2).repeat(len(angle), 1, 1)
    slant[:, 0, 1], slant[:, 1, 0] = shears[:, 0], shears[:, 1]
    forward = turn @ slant @ torch.diag_embed(factors)
    forward = forward * (size / size[:, None])  # from pixels to shares of width and height
    inverse = torch.linalg.inv(forward)
    return torch.cat([inverse, -inverse @ moves.unsqueeze(2)], 2)


def _warped(images: Tensor, places: Tensor, outside: str) -> Tensor:
    grid = F.affine_grid(places.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _check(name: str, bounds: tuple[float, float], largest: float) -> None:
    if not 0 < bounds[0] <= bounds[1] <= largest:
        limit = "" if largest == math.inf else f", at most {largest}"
        raise ValueError(f"{name}={bounds}, expected two positive numbers{limit}, the smaller first")


def _unchanged(images: Tensor, generator: torch.Generator) -> Tensor:
    return images


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    return crop(images, generator, max(1, images.shape[-1] // 14))


def _window(images: Tensor, generator: torch.Generator) -> Tensor:
    return flip(resized_crop(images, generator), generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": _unchanged,
    "crop": _moved,
    "resized_crop": _window,
    "affine": affine,
}
"""By the names of `metarl.supervised.methods.config.Augment`."""
