"""Files that are either the old ones or the new ones, never half of either; and all files of a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None


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
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say which file
            error.filename = str(path)
        raise
    return beside


@contextmanager
def locked(path: Path, refusal: str = "") -> Iterator[None]:
    """Keep other processes out while it lasts; the system lets go when the process ends, however it does.

    Args:
        path: A file that is there for this alone; it is made.
        refusal: What to say if another process is in; empty: wait until it is out.

    Raises:
        ValueError: The refusal.
    """
    if fcntl is None:
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise ValueError(refusal) from None
        yield


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
