"""`metarl watch`: TensorBoard on a folder of runs."""

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.commands.flags import parse


@dataclass(frozen=True)
class Watch:
    """What TensorBoard shows, and where."""

    folder: Annotated[str, Positional, arg(metavar="[DIR]")] = "runs"
    """A run, or a folder with runs in it."""
    port: int = 6006
    """Port of this machine; the next free one is taken if it is in use."""
    host: str = "localhost"
    """Address to listen on; 0.0.0.0 lets other machines look."""


def watch(arguments: list[str]) -> int:
    """Start TensorBoard, print its address, and stay until Ctrl-C."""
    options = parse(Watch, "metarl watch", arguments, "Start TensorBoard on a folder of runs.")
    folder = Path(options.folder)
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; train first, or name the folder that `metarl train --out` had")
    port = free_port(options.host, options.port)
    address = "localhost" if options.host == "0.0.0.0" else options.host
    print(f"TensorBoard on http://{address}:{port}  (Ctrl-C ends it)", flush=True)
    return subprocess.call(tensorboard(folder, options.host, port))


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
