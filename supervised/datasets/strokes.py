"""Generated drawings: made-up characters of a few strokes, each drawn by many hands. Nothing is downloaded.

A character is two to four curved strokes between points of a grid. A hand shifts the points, turns, shears and scales
the whole, and has a pen of its own width. The same numbers give the same drawings everywhere.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import Reading

SIZE = 28
CLASSES = {"train": 120, "validation": 40, "test": 40}
HANDS = 20
SEEDS = {"train": 11, "validation": 12, "test": 13}
POINTS = 24
"""Points that a stroke is drawn through."""
READINGS = {"strokes": Reading(size=SIZE, channels=1, inverted=True)}


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Drawings of a split; `root` and `download` mean nothing here."""
    return _drawn(split, size or SIZE)


@cache
def _drawn(split: str, size: int) -> ClassStore:
    rng = np.random.default_rng(SEEDS[split])
    num = CLASSES[split]
    pictures = [_pictures(_character(rng), rng, size) for _ in range(num)]
    images = torch.from_numpy(np.concatenate(pictures)).unsqueeze(1)
    names = [f"{split}-{number:03d}" for number in range(num)]
    return ClassStore(images, torch.arange(num + 1) * HANDS, names)


def drawings(characters: int, hands: int, seed: int, size: int = SIZE) -> ClassStore:
    """Characters of one's own number, each drawn by as many hands as are asked for, independently of one another.

    Args:
        characters: Classes.
        hands: Drawings of each, a multiple of 20.
        seed: They follow from it.
        size: Height and width.

    Raises:
        ValueError: The hands do not come in twenties.
    """
    if characters < 1 or hands < 1 or hands % HANDS:
        raise ValueError(
            f"{characters=}, {hands=}: expected 1 character or more, and hands in multiples of {HANDS}"
        )
    rng = np.random.default_rng(seed)
    shapes = [_character(rng) for _ in range(characters)]
    pictures = [_pictures(shape, rng, size) for shape in shapes for _ in range(hands // HANDS)]
    images = torch.from_numpy(np.concatenate(pictures)).unsqueeze(1)
    names = [f"character-{number:02d}" for number in range(characters)]
    return ClassStore(images, torch.arange(characters + 1) * hands, names)


def _character(rng: np.random.Generator) -> np.ndarray:
    """Ends and middles of its strokes, shape (strokes, 3, 2), in [-1, 1]."""
    grid = np.stack(np.meshgrid([-0.8, -0.27, 0.27, 0.8], [-0.8, -0.27, 0.27, 0.8]), -1).reshape(-1, 2)
    strokes = []
    for _ in range(rng.integers(2, 5)):
        first, last = grid[rng.choice(16, 2, replace=False)]
        strokes.append([first, (first + last) / 2 + rng.uniform(-0.7, 0.7, 2), last])
    return np.array(strokes)


def _pictures(character: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """The character by all hands, uint8, shape (HANDS, size, size), light on dark."""
    along = np.linspace(0, 1, POINTS)[:, None]
    weights = np.concatenate([(1 - along) ** 2, 2 * along * (1 - along), along**2], 1)
    knots = character + rng.normal(0, 0.1, (HANDS, *character.shape))
    points = np.einsum("pk,hskd->hspd", weights, knots).reshape(HANDS, -1, 2)
    points = points @ _hand(rng) + rng.uniform(-0.12, 0.12, (HANDS, 1, 2))
    pixels = np.linspace(-1.25, 1.25, size)
    dx = pixels[None, None, :] - points[:, :, :1]
    dy = pixels[None, None, :] - points[:, :, 1:]
    width = rng.uniform(0.05, 0.09, (HANDS, 1, 1))
    ink = np.zeros((HANDS, size, size))
    for point in range(points.shape[1]):
        squared = dx[:, point, None, :] ** 2 + dy[:, point, :, None] ** 2
        np.maximum(ink, np.exp(-squared / (2 * width**2)), out=ink)
    return np.round(255 * ink).astype(np.uint8)


def _hand(rng: np.random.Generator) -> np.ndarray:
    """How each hand turns, shears and scales, shape (HANDS, 2, 2)."""
    angle, shear = rng.normal(0, 0.2, HANDS), rng.normal(0, 0.2, HANDS)
    scale = rng.uniform(0.8, 1.1, (HANDS, 2, 1))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(HANDS, 2, 2)
    shears = np.tile(np.eye(2), (HANDS, 1, 1))
    shears[:, 0, 1] = shear
    return scale * (turn @ shears)
