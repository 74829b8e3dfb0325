"""Files of data sets: where they lie, and how they are fetched from their official addresses."""

from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


def located(root: Path, folder: str, names: tuple[str, ...]) -> Path | None:
    """The first of some files or folders that is there.

    Args:
        root: Folder of the data sets.
        folder: Of this data set; its files may lie in the root as well.
        names: In order of preference.
    """
    places = (place / name for name in names for place in (root / folder, root))
    return next((place for place in places if place.exists()), None)


def fetch(address: str, path: Path, checksum: str | None = None, *, allowed: bool = True) -> Path:
    """A file, fetched unless it is there. It has its name only when it is complete and right.

    Args:
        address: Where it comes from.
        path: Where it is to lie.
        checksum: Such as `md5:..` or `sha256:..`; unset, what is fetched is only checked for its length.
        allowed: Whether it may be fetched.

    Returns:
        The path.

    Raises:
        ValueError: It is missing and cannot be fetched; the message says how to put it there by hand.
    """
    if path.exists():
        return path
    by_hand = f"put {address} there yourself, or set the folder of the data ($METARL_DATA)"
    if not allowed:
        raise ValueError(f"{path} is missing and may not be fetched: {by_hand}")
    try:
        import pooch
    except ImportError:
        raise ValueError(
            f"{path} is missing and fetching it needs pooch: pip install 'metarl-suite[images]'; or {by_hand}"
        ) from None
    with _Bar(path.name) as bar:
        loader = pooch.HTTPDownloader(progressbar=bar, timeout=60)
        try:
            pooch.retrieve(address, checksum, path.name, path.parent, downloader=loader)
        except (OSError, ValueError) as error:  # also all errors of requests; a wrong checksum
            raise ValueError(f"{path} could not be fetched ({error}): try again, or {by_hand}") from None
    return path


class _Bar:
    """A progress bar with the methods that pooch calls."""

    total: int = 0

    def __init__(self, name: str):
        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar, self._task = Progress(*columns, transient=True), None

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def update(self, number: int) -> None:
        """Count bytes."""
        if self._task is None:
            self._task = self._bar.add_task("", total=self.total or None)
        self._bar.advance(self._task, number)

    def reset(self) -> None:
        """Called at the end, before all bytes are counted once more."""
        if self._task is not None:
            self._bar.reset(self._task)

    def close(self) -> None:
        """Called at the end."""
