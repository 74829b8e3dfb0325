"""Tables as text."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table with columns of even width; the first is aligned left, numbers to the right.

    Args:
        columns: Their heads.
        rows: Cells, as many as there are columns; floats get four digits that count.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(row)} cells, expected {len(columns)}: {row}")
    heads = [_cell(head) for head in columns]
    widths = [max(3, *(len(row[i]) for row in [heads, *cells])) for i in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(_pad(line, widths)) + " |" for line in [heads, rule, *cells])


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        text.rjust(w) if i else text.ljust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
    ]


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
