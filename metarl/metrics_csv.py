"""A table of metrics on disk, one row per logged step, whose columns may grow while it is written."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from metarl.files import write_atomically


class MetricsCSV:
    """Appends rows to a CSV file; a metric seen for the first time gets a column, empty in earlier rows.

    Rows are flushed as they are written; a new column rewrites the file in one step. Numbers are written so
    that reading gives the same bits back.
    """

    def __init__(self, path: str | Path):
        """Opens nothing yet: the file is made with the first row."""
        self.path = Path(path)
        self._columns: list[str] | None = None
        self._rows = 0
        self._file: TextIO | None = None

    @property
    def rows(self) -> int:
        """How many whole rows the file holds."""
        if self._columns is None:
            self._columns, rows = read_rows(self.path)
            self._rows = len(rows)
        return self._rows

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one row.

        Args:
            step: The x axis (environment steps or episodes).
            metrics: Numbers by tag.
        """
        if self._file is None:
            self.cut(self.rows)  # a line broken off by a crash must not be continued
        assert self._columns is not None
        new = [name for name in metrics if name not in self._columns]
        row = {"step": str(int(step)), **{name: text_of(value) for name, value in metrics.items()}}
        if new:
            columns = (self._columns or ["step"]) + new
            self._rewrite(columns, [*read_rows(self.path)[1], row])
        else:
            self._open().write(_lines(self._columns, [row]))
            self._open().flush()
            self._rows += 1

    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows, and only the columns that still have a number in them."""
        columns, everything = read_rows(self.path)
        kept = everything[:rows]
        filled = [name for name in columns if name == "step" or any(row.get(name) for row in kept)]
        self._rewrite(filled if kept else [], kept)

    def sync(self) -> None:
        """Make sure that what was written survives a power cut."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> TextIO:
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8", newline="")
        return self._file

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        self.close()
        text = _lines(columns, [dict(zip(columns, columns, strict=True)), *rows]) if columns else ""
        if text or self.path.exists():
            write_atomically(self.path, text.encode())
        self._columns, self._rows = columns, len(rows)
        self._open()


def read_rows(path: str | Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a metrics file and its whole rows as text; both empty if there is no file.

    A last line without its line break was cut off by a crash and does not count.

    Raises:
        ValueError: The file is damaged.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: it is no text ({error})") from None
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return [], []
    columns = lines[0]
    return columns, [dict(zip(columns, line, strict=False)) for line in lines[1:]]


def read_metrics(path: str | Path) -> dict[str, list[float]]:
    """Every column of a metrics file as numbers, all of the same length, NaN where a row has none."""
    columns, rows = read_rows(path)
    try:
        return {name: [float(row.get(name) or "nan") for row in rows] for name in columns}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def text_of(value: float) -> str:
    """A number as text that reads back as the same number."""
    return str(int(value)) if isinstance(value, int) else repr(float(value))


def _lines(columns: list[str], rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([row.get(name, "") for name in columns] for row in rows)
    return out.getvalue()
