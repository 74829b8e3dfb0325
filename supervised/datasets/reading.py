"""Image files to bytes of one form."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from metarl.supervised.datasets import Reading

TURNED = ("JPEG", "MPO", "TIFF", "WEBP", "HEIF")
"""Formats in which cameras say how they were held."""
DEEPEST = 65_535
"""White in pictures of 16 bits."""


def read(paths: Sequence[str | Path], reading: Reading, size: int) -> Tensor:
    """Image files as uint8, shape (n, channels, size, size).

    Raises:
        ValueError: A file is missing or no image; the message names it.
    """
    return stacked((one(path, reading, size, str(path)) for path in paths), reading, size)


def one(file: str | Path | IO[bytes], reading: Reading, size: int, name: str) -> np.ndarray:
    """One picture, uint8 of shape (channels, size, size), resized by Lanczos' filter without keeping proportions.

    Args:
        file: A path, or an open file.
        reading: Channels, and whether to invert.
        size: Height and width.
        name: For messages.

    Raises:
        ValueError: The file is missing or no image.
    """
    try:
        with Image.open(file) as picture:
            picture = _upright(picture).convert("L" if reading.channels == 1 else "RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture)
    except FileNotFoundError:
        raise ValueError(f"no such image: {name}") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name} is not an image that can be read ({error})") from None
    pixels = pixels[None] if reading.channels == 1 else pixels.transpose(2, 0, 1)
    return 255 - pixels if reading.inverted else pixels


def _upright(picture: Image.Image) -> Image.Image:
    """As it is seen: turned as the camera was held, and on white paper where it is transparent."""
    if picture.format in TURNED:
        picture = ImageOps.exif_transpose(picture)
    picture = _eight_bits(picture)
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits brought to 8; anything else as it is.

    Raises:
        ValueError: Its numbers do not say what is black and white.
    """
    if picture.mode == "F":
        raise ValueError(
            "its pixels are fractions, which do not say what is white: save it with 8 or 16 bits"
        )
    if not picture.mode.startswith("I"):
        return picture
    pixels = np.asarray(picture).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > DEEPEST:
        raise ValueError(
            f"its pixels go from {pixels.min()} to {pixels.max()}, expected 0 to {DEEPEST}: save it with 8 or 16 bits"
        )
    if picture.mode == "I" and pixels.max() <= 255:
        return picture
    return Image.fromarray(np.round(pixels * (255 / DEEPEST)).astype(np.uint8))


def resized(images: np.ndarray, size: int) -> Tensor:
    """Arrays of pictures brought to another size as files are.

    Args:
        images: uint8, shape (n, H, W, 3).
        size: Height and width.

    Returns:
        uint8, shape (n, 3, size, size).
    """
    if images.shape[1:3] == (size, size):
        return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))
    found = np.empty((len(images), 3, size, size), np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
        found[row] = np.asarray(picture).transpose(2, 0, 1)
    return torch.from_numpy(found)


def stacked(pictures: Iterable[np.ndarray], reading: Reading, size: int) -> Tensor:
    """Pictures as one tensor; (0, channels, size, size) where there are none."""
    rows = list(pictures)
    if not rows:
        return torch.zeros(0, reading.channels, size, size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(rows))
