"""Contact sheets: what a few-shot method learned from, and how it labels what it is asked about.

Legend: S support images, Q queries, W classes, C channels, H and W' height and width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl.plots import COLOURS

THUMB, GAP, LINE = 64, 8, 20
"""Side of a picture, space between things, and height of a line of text, in pixels."""
LABEL, BAR = 150, 130
"""Width of a class's name, and of the longest bar."""
CELL = THUMB + LABEL + BAR + 70
"""Width of a query with its bars."""
MOST = 10
"""Support images of each class that are shown."""
INK, PAPER, PALE = (25, 25, 25), (255, 255, 255), (225, 225, 225)
RIGHT, WRONG = (0, 158, 115), (213, 94, 0)


def contact_sheet(
    labels: Sequence[str],
    support: np.ndarray,
    support_labels: np.ndarray,
    query: np.ndarray,
    probabilities: np.ndarray,
    truth: np.ndarray | None = None,
) -> Any:
    """One picture of support images by class, and of queries with their most likely classes.

    Args:
        labels: Names of the classes, W.
        support: uint8, shape (S, C, H, W').
        support_labels: Places in `labels`, shape (S,).
        query: uint8, shape (Q, C, H, W').
        probabilities: Shape (Q, W).
        truth: Right classes of the queries, shape (Q,); they then get a green or an orange frame.

    Returns:
        A Pillow image.
    """
    from PIL import Image, ImageDraw

    columns = 1 if len(query) == 1 else 2
    rows = -(-len(query) // columns)
    shown = min(len(labels), 3)
    cell = max(THUMB, shown * LINE) + GAP
    most = min(MOST, int(np.bincount(support_labels, minlength=1).max()))
    width = GAP + max(LABEL + GAP + most * (THUMB + GAP), columns * (CELL + GAP))
    height = 3 * GAP + 2 * LINE + len(labels) * (THUMB + GAP) + rows * cell
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _heading(draw, "support", GAP)
    for number, label in enumerate(labels):
        _words(draw, (GAP, top + THUMB // 2 - LINE // 2), label, LABEL)
        draw.rectangle((GAP, top + THUMB - 6, GAP + 40, top + THUMB - 2), fill=_colour(number))
        for place, index in enumerate(np.flatnonzero(support_labels == number)[:most]):
            sheet.paste(thumbnail(support[index]), (GAP + LABEL + GAP + place * (THUMB + GAP), top))
        top += THUMB + GAP
    top = _heading(draw, "queries", top)
    for index in range(len(query)):
        corner = (GAP + index % columns * (CELL + GAP), top + index // columns * cell)
        frame = None if truth is None else RIGHT if probabilities[index].argmax() == truth[index] else WRONG
        _query(sheet, draw, corner, query[index], labels, probabilities[index], frame)
    return sheet


def _query(
    sheet: Any,
    draw: Any,
    corner: tuple[int, int],
    picture: np.ndarray,
    labels: Sequence[str],
    probabilities: np.ndarray,
    frame: tuple[int, int, int] | None,
) -> None:
    """A query and a bar for each of its three most likely classes."""
    left, top = corner
    sheet.paste(thumbnail(picture), corner)
    if frame is not None:
        draw.rectangle((left, top, left + THUMB - 1, top + THUMB - 1), outline=frame, width=3)
    left += THUMB + GAP
    for place, number in enumerate(np.argsort(-probabilities, kind="stable")[:3]):
        y = top + place * LINE
        _words(draw, (left, y), labels[number], LABEL - GAP)
        start = left + LABEL
        draw.rectangle((start, y + 3, start + BAR, y + LINE - 4), fill=PALE)
        long = round(BAR * float(probabilities[number]))
        if long:
            draw.rectangle((start, y + 3, start + long, y + LINE - 4), fill=_colour(number))
        _words(draw, (start + BAR + GAP, y), f"{probabilities[number]:.0%}", 50)


def thumbnail(picture: np.ndarray) -> Any:
    """A picture of shape (C, H, W'), uint8, as a square Pillow image; one channel becomes grey."""
    from PIL import Image

    pixels = np.moveaxis(np.asarray(picture), 0, -1)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    small = max(pixels.shape[:2]) < THUMB
    kind = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((THUMB, THUMB), kind)


def _heading(draw: Any, text: str, top: int) -> int:
    _words(draw, (GAP, top), text, 400, (110, 110, 110))
    return top + LINE


def _words(draw: Any, corner: tuple[int, int], text: str, width: int, fill: Any = INK) -> None:
    """A line of text, cut short with dots where it is too long."""
    from PIL import ImageFont

    font = ImageFont.load_default(13)
    whole = text
    while text and draw.textlength(text if text == whole else f"{text}...", font=font) > width:
        text = text[:-1]
    draw.text(corner, text if text == whole else f"{text}...", font=font, fill=fill)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
