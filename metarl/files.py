"""Files that are either the old ones or the new ones, never half of either."""

import os
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
