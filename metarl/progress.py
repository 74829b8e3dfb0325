"""What a training shows while it runs: a live panel on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from itertools import groupby
from types import TracebackType
from typing import Any

HEADLINES = (
    "adapt/",
    "lifetime/return_",
    "match/",
    "fewshot/",
    "imitation/",
    "eval/",
    "rollout/ep_rew_mean",
    "train/loss",
)
"""Tags worth a place on a single line, by importance; a prefix stands for all of its tags."""


class Eta:
    """Time to go, judged by the latest iterations only.

    Args:
        total: Steps at the end.
        window: How many iterations back the speed is measured over.
    """

    def __init__(self, total: int, window: int = 20):
        self.total = total
        self._seen: deque[tuple[float, int]] = deque(maxlen=window + 1)

    def update(self, step: int, now: float | None = None) -> None:
        """Tell that `step` steps are done, at a time in seconds on a clock that never goes back."""
        self._seen.append((time.monotonic() if now is None else now, step))

    @property
    def rate(self) -> float | None:
        """Steps per second, None before there is anything to judge by."""
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start and last > first else None

    @property
    def seconds(self) -> float | None:
        """Seconds to go, None while that is not known."""
        return max(0.0, (self.total - self._seen[-1][1]) / self.rate) if self.rate else None


class Progress:
    """Shows where a training stands.

    Args:
        title: What is being trained.
        total: Steps at the end.
        quiet: Show nothing at all.
        every: Seconds between lines where the output is no terminal.
        window: Iterations that the time to go is judged by.
        unit: What steps are called where they are others than those of environments or episodes.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        quiet: bool = False,
        every: float = 10.0,
        window: int = 20,
        unit: str = "steps",
    ):
        self.title, self.total, self._unit = title, total, unit
        self._quiet, self._every = quiet, every
        self._eta = Eta(total, window)
        self._step = 0
        self._metrics: dict[str, float] = {}
        self._note = ""
        self._live: Any = None
        self._last_line = float("-inf")

    def __enter__(self) -> "Progress":
        if not self._quiet and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(get_renderable=self._panel, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def step(self) -> int:
        """Steps done so far."""
        return self._step

    def start(self, step: int) -> None:
        """Tell where it starts (0, or a checkpoint's step)."""
        self._step = step
        self._eta.update(step)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell what an iteration brought.

        Args:
            step: Steps done so far.
            metrics: Its numbers by tag; those of earlier iterations stay until they are replaced.
        """
        self._step = step
        self._metrics |= metrics
        self._eta.update(step)
        due = time.monotonic() - self._last_line >= self._every or step >= self.total
        if not self._quiet and self._live is None and due:
            self._last_line = time.monotonic()
            self._print(self.line())

    def note(self, text: str) -> None:
        """Show a sentence at once; safe to call from a signal handler."""
        if self._live is not None:
            self._note = text
        elif not self._quiet:
            os.write(2, f"{text}\n".encode())

    def say(self, text: str) -> None:
        """Show a sentence that stays."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        """A line; where nobody reads any more, training goes on in silence."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self._quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def line(self) -> str:
        """Everything important on one line."""
        parts = [f"{self._step:,}/{self.total:,} {self._unit} ({self._share():.0%})"]
        parts += self._rate()
        parts.append(f"{duration(self._eta.seconds)} to go")
        ranked = [name for head in HEADLINES for name in self._metrics if name.startswith(head)]
        parts += [f"{name} {number(self._metrics[name])}" for name in ranked[:6]]
        return "  ".join(parts)

    def _rate(self) -> list[str]:
        """Steps per second, where there is one or more."""
        rate = self._eta.rate
        return [f"{rate:,.0f} {self._unit}/s"] if rate and rate >= 1 else []

    def _share(self) -> float:
        return min(1.0, self._step / self.total) if self.total else 1.0

    def _panel(self) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        steps = f"{self._share():.0%}  {self._step:,}/{self.total:,} {self._unit}"
        state = ", ".join([steps, *self._rate(), f"{duration(self._eta.seconds)} to go"])
        bar.add_row(ProgressBar(total=max(self.total, 1), completed=min(self._step, self.total)), state)
        rows = [bar, *self._groups()]
        if self._note:
            rows.append(Text(self._note, style="yellow"))
        return Panel(Group(*rows), title=Text(self.title), title_align="left", border_style="dim")

    def _groups(self) -> list[Any]:
        """The numbers, grouped by what stands before the slash, several to a line."""
        from rich.columns import Columns
        from rich.text import Text

        found = []
        for group, names in groupby(sorted(self._metrics), key=lambda name: name.partition("/")[0]):
            cells = [
                Text.assemble((f"{name.partition('/')[2] or name} ", "dim"), number(self._metrics[name]))
                for name in names
            ]
            found += [Text(group, style="bold cyan"), Columns(cells, padding=(0, 3), equal=True)]
        return found


def number(value: float) -> str:
    """A number as short as it stays readable: four digits that count."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time span in words: `45 s`, `3 min`, `2 h 05 min`; `?` if it is not known."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
