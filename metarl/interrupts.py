"""Ctrl-C and SIGTERM as a request, not an accident."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from metarl import distributed

SAME_PRESS = 2.0
"""Seconds in which a further signal is the same one: torchrun passes a terminal's Ctrl-C on once more."""


class StopRequest:
    """While entered, the first Ctrl-C or SIGTERM only raises a flag; a second one aborts at once.

    Outside the main thread, where Python takes no signals, the flag just stays down.

    Args:
        notify: Called with a sentence for the user when the flag goes up.

    Attributes:
        requested: The flag.
    """

    def __init__(self, notify: Callable[[str], None]):
        self.requested = False
        self._notify = notify
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        echo = distributed.world_size() > 1 and time.monotonic() - self._at < SAME_PRESS
        if self.requested and not echo:
            raise KeyboardInterrupt("stopped at once by a second signal")
        if not self.requested:
            self.requested, self._at = True, time.monotonic()
            self._notify("stopping after this iteration, then saving; once more to abort at once")
