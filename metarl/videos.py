"""Videos from frames: mp4 by ffmpeg, GIF by Pillow, with captions. No torch here.

A frame is an uint8 array of shape (height, width, 3).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from metarl.names import nearest

SUFFIXES = (".mp4", ".gif")
GIF_TICK = 0.01
"""Seconds: a GIF counts in hundredths, and browsers slow down whatever is shorter than two."""


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Write a video; the suffix says which kind.

    Args:
        path: Ends in .mp4 or .gif. Its folder is made if need be.
        frames: At least one, all of one size; an mp4 is written as they come, so they may be made one by one.
        fps: Frames per second. A GIF shows at most 50; of more, frames are left out.

    Returns:
        The path.

    Raises:
        ValueError: Another suffix, no frames, or frames that are no pictures of one size.
        ImportError: An mp4 is wanted and imageio-ffmpeg is not installed.
    """
    path = check_suffix(path)
    if fps <= 0:
        raise ValueError(f"fps={fps}, expected more than 0")
    frames = _checked(frames)
    frames = chain([next(frames)], frames)  # a film without frames leaves no file
    path.parent.mkdir(parents=True, exist_ok=True)
    # An old film stays until the new one is whole.
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        (_write_mp4 if path.suffix.lower() == ".mp4" else _write_gif)(beside, frames, fps)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def check_suffix(path: str | Path) -> Path:
    """The path, if a video of that suffix can be written here.

    Raises:
        ValueError: The suffix is neither .mp4 nor .gif.
        ImportError: It is .mp4 and imageio-ffmpeg is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        hint = nearest(path.suffix, SUFFIXES)
        raise ValueError(f"cannot write '{path}': got the suffix '{path.suffix}', {hint}")
    if path.suffix.lower() == ".mp4":
        _ffmpeg()
    return path


def caption(frame: np.ndarray, text: str, *, size: int | None = None) -> np.ndarray:
    """A frame with white text on a dark band along its top.

    Args:
        frame: Shape (height, width, 3), uint8; it stays as it is.
        text: One or more lines.
        size: Height of the letters in pixels; unset, an eighteenth of the frame's height, at least 12, and
            less where the longest line would not fit.

    Returns:
        A new frame of the same shape.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image, "RGBA")
    font = _font(draw, text, size or max(12, image.height // 18), image.width)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font)
    margin = max(2, (bottom - top) // 4)
    draw.rectangle((0, 0, image.width, bottom - top + 2 * margin), fill=(0, 0, 0, 150))
    corner = ((image.width - right - left) // 2, margin - top)
    draw.multiline_text(corner, text, font=font, fill=(255, 255, 255))
    return np.asarray(image)


def side_by_side(*frames: np.ndarray, gap: int = 4) -> np.ndarray:
    """Frames from left to right on one, with a white gap; lower ones are filled up with white.

    Args:
        *frames: Each of shape (height, width, 3), uint8.
        gap: Pixels between two.
    """
    height = max(frame.shape[0] for frame in frames)
    parts: list[np.ndarray] = []
    for frame in frames:
        if parts:
            parts.append(np.full((height, gap, 3), 255, np.uint8))
        parts.append(np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0)), constant_values=255))
    return np.concatenate(parts, axis=1)


def task_text(task: Mapping[str, Any]) -> str:
    """A task in a few words for a caption, e.g. `direction -1` or `goal 0.5 -1.2`."""
    parts = []
    for name, value in task.items():
        entries = np.ravel(np.asarray(value)).tolist()
        shown = " ".join(each if isinstance(each, str) else f"{each:.3g}" for each in entries[:4])
        shown += " ..." if len(entries) > 4 else ""
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"got a frame of {frame.dtype} {frame.shape}, expected uint8 (height, width, 3)")
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ValueError(f"got frames of {shape} and {frame.shape}, expected one size")
        yield frame
    if shape is None:
        raise ValueError("no frames to write; the world was not stepped")


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    writer = None
    try:
        for frame in map(_even, frames):  # yuv420p halves both sides
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                how = {"codec": "libx264", "pix_fmt_out": "yuv420p", "macro_block_size": 2, "quality": 7}
                writer = _ffmpeg().write_frames(str(path), size, fps=fps, **how)
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))
    finally:
        if writer is not None:
            writer.close()


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    stride = max(1, ceil(2 * GIF_TICK * fps))
    ticks = max(2, round(stride / fps / GIF_TICK))
    kept = islice(frames, None, None, stride)
    images = [Image.fromarray(frame).quantize(dither=Image.Dither.NONE) for frame in kept]
    images[0].save(path, save_all=True, append_images=images[1:], duration=ticks * 10, loop=0)


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame, with its last row or column doubled where their number is odd."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        raise ImportError(
            'writing mp4 needs imageio-ffmpeg: pip install "metarl-suite[video]", or write a .gif instead'
        ) from None
    return imageio_ffmpeg


def _font(draw: Any, text: str, size: int, width: int) -> Any:
    """Pillow's own font at the largest size up to `size` at which the longest line fits."""
    from PIL import ImageFont

    while True:
        font = ImageFont.load_default(size)
        left, _, right, _ = draw.multiline_textbbox((0, 0), text, font=font)
        if right - left <= width or size <= 8:
            return font
        size -= 1
