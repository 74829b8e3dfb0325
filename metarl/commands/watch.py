"""`metarl watch`: TensorBoard on a folder of runs."""

import os
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.commands.flags import parse

ADAPTATION = "#custom_scalars&_smoothingWeight=0"
"""TensorBoard's page of the runs' own layout (adaptation first), the numbers as they are, not smoothed."""
LAYOUT = b"custom_scalars__config__"
"""The tag under which a run's layout stands, at the start of its event file."""


@dataclass(frozen=True)
class Watch:
    """What TensorBoard shows, and where."""

    folder: Annotated[str, Positional, arg(metavar="[DIR]")] = "runs"
    """A run, or a folder with runs in it."""
    port: int = 6006
    """Port of this machine; the next free one is taken if it is in use."""
    host: str = "localhost"
    """Address to listen on; 0.0.0.0 lets other machines look."""
    browser: bool = True
    """Open the page in a browser, where there is a display."""


def watch(arguments: list[str]) -> int:
    """Start TensorBoard, print its address, and stay until Ctrl-C."""
    options = parse(Watch, "metarl watch", arguments, "Start TensorBoard on a folder of runs.")
    folder = Path(options.folder)
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; train first, or name the folder that `metarl train --out` had")
    if not 1 <= options.port <= 65535:
        raise ValueError(f"--port {options.port}, expected a number from 1 to 65535")
    port = free_port(options.host, options.port)
    address = "localhost" if options.host == "0.0.0.0" else options.host
    url = f"http://{address}:{port}/{first_page(folder)}"
    print(f"TensorBoard on {url}  (Ctrl-C ends it)", flush=True)
    if options.browser and has_display():
        threading.Thread(target=open_when_ready, args=(url, address, port), daemon=True).start()
    return subprocess.call(tensorboard(folder, options.host, port))


def first_page(folder: Path) -> str:
    """What stands after the address: the page that the runs themselves arranged, unless all are without one."""
    files = [
        file for pattern in ("*", "*/*", "*/*/*", "*/*/*/*") for file in folder.glob(f"{pattern}tfevents*")
    ]
    arranged = any(_starts_with_layout(file) for file in files)
    return ADAPTATION if arranged or not files else ""


def _starts_with_layout(file: Path) -> bool:
    with file.open("rb") as stream:
        return LAYOUT in stream.read(10_000)


def has_display() -> bool:
    """Whether somebody sits at this machine who would see a browser's window."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def open_when_ready(
    url: str, host: str, port: int, tries: int = 120, opener: Callable[[str], bool] = webbrowser.open
) -> bool:
    """Open a page once its server answers, half a second between tries; returns whether it came to that."""
    for _ in range(tries):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return opener(url)
    return False


def tensorboard(folder: Path, host: str, port: int) -> list[str]:
    """The command that starts TensorBoard."""
    where = ["--logdir", str(folder), "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "tensorboard.main", *where, "--reload_interval", "5"]


def free_port(host: str, first: int, tries: int = 20) -> int:
    """The first port from `first` on that nobody listens on.

    Raises:
        ValueError: None of `tries` ports is free.
    """
    for port in range(first, min(first + tries, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ValueError(f"no free port from {first} on; choose another with --port")
