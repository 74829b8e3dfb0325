"""Files that are either the old ones or the new ones, never half of either; and all files of a folder."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | Path, data: bytes) -> None:
    """Replace a file in one step, so that a crash at any moment leaves the old file or the new one.

    The data reach the disk before the name does (write to a neighbour, fsync, rename, fsync the folder).

    Args:
        path: The file; its folder must exist.
        data: All of its new content.

    Raises:
        OSError: the disk refused; the old file is untouched.
    """
    path = Path(path)
    beside = write_beside(path, data)
    try:
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_beside(path: Path, data: bytes) -> Path:
    """Write a neighbour of a file that is on the disk and is to take its place; gives its path.

    Raises:
        OSError: the disk refused; nothing is left of the neighbour.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def sync_folder(folder: Path) -> None:
    """Make sure that a folder's new names are on the disk."""
    if os.name != "posix":  # Windows cannot open a folder; its rename is durable enough
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_under(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files in a folder and in the folders within it, in no order; links are followed, in a circle only once.

    Args:
        folder: Where to look; what may not be read in it is passed over.
        above: The folders that it was reached by.
    """
    real = folder.resolve()
    if real in above:
        return
    entries: list[os.DirEntry[str]] = []
    with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as found:
        entries += found
    for entry in entries:
        if entry.is_dir():
            yield from files_under(folder / entry.name, above | {real})
        elif entry.is_file():
            yield folder / entry.name
