"""Pictures in folders, zip and tar archives, decoded by several threads."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from metarl.files import files_under
from metarl.supervised.datasets import Reading
from metarl.supervised.datasets.reading import one

AT_ONCE = 1024
"""Files that are in memory before they are decoded."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""How the names of pictures end."""


def listing(source: Path) -> list[str]:
    """Names of the files in a folder or archive, sorted, with `/` between folders; no hidden ones.

    Raises:
        ValueError: The archive is broken.
    """
    with _readable(source):
        if source.is_dir():
            names = [path.relative_to(source).as_posix() for path in files_under(source)]
        elif source.suffix == ".zip":
            with zipfile.ZipFile(source) as archive:
                names = [each.filename for each in archive.infolist() if not each.is_dir()]
        else:
            with tarfile.open(source) as archive:
                names = [each.name for each in archive if each.isfile()]
    return sorted(name for name in names if not any(_hidden(part) for part in name.split("/")))


def is_picture(name: str) -> bool:
    """Whether a name ends as those of pictures do."""
    return name.lower().endswith(PICTURES)


def content(source: Path, name: str) -> bytes:
    """Of one file in a folder or archive.

    Raises:
        ValueError: It is not there, or the archive is broken.
    """
    found = dict(_contents(source, {name}))
    if name not in found:
        raise broken(source, f"it has no {name}")
    return found[name]


def decoded(source: Path, names: Sequence[str], reading: Reading, size: int) -> Tensor:
    """Pictures of a folder or archive.

    Args:
        source: The folder or archive.
        names: Of the pictures, in the order that is wanted; none twice.
        reading: How they are read.
        size: Height and width.

    Returns:
        uint8, shape (len(names), channels, size, size).

    Raises:
        ValueError: The archive is broken, or a picture is missing or cannot be read.
    """
    rows = {name: row for row, name in enumerate(names)}
    images = torch.empty(len(names), reading.channels, size, size, dtype=torch.uint8)
    target, left = images.numpy(), set(rows)

    def place(entry: tuple[str, bytes]) -> str:
        name, encoded = entry
        target[rows[name]] = one(BytesIO(encoded), reading, size, f"{source}: {name}")
        return name

    entries = _contents(source, rows)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(entries, AT_ONCE)):
            left.difference_update(pool.map(place, chunk))
    if left:
        raise broken(source, f"{len(left)} of {len(names)} pictures are missing, such as {min(left)}")
    return images


def _hidden(part: str) -> bool:
    """Whether a file or folder is one that systems put beside those of people."""
    return part == "__MACOSX" or (part.startswith(".") and part not in (".", ".."))


def broken(source: Path, reason: object) -> ValueError:
    """The error for a file that is not what it should be: what is wrong with it, and the way out."""
    return ValueError(
        f"{source} is broken or was not fetched to its end ({reason}): delete it, to have it fetched again"
    )


def _contents(source: Path, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files that are wanted, in the order in which they lie."""
    with _readable(source):
        if source.is_dir():
            for name in listing(source):
                if name in wanted:
                    yield name, (source / name).read_bytes()
        elif source.suffix == ".zip":
            with zipfile.ZipFile(source) as archive:
                for name in archive.namelist():
                    if name in wanted:
                        yield name, archive.read(name)
        else:
            with tarfile.open(source) as archive:
                for member in archive:
                    if member.name in wanted and (file := archive.extractfile(member)) is not None:
                        yield member.name, file.read()


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Tells of a broken or missing archive."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise broken(source, str(error).partition("\n")[0]) from None
