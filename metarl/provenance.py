"""What a run was made with: code, versions, machine."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("metarl-suite", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "pettingzoo")
LARGEST_DIFF = 5_000_000
"""Bytes of a diff that are kept; more is no change of code but data."""
MOST_NEW_MODULES = 50


def command() -> str:
    """The command line of this process, as it could be pasted into a shell."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if name == "__main__.py":
        return shlex.join(["python", "-m", Path(sys.argv[0]).parent.name, *sys.argv[1:]])
    start = ["python", sys.argv[0]] if name.endswith(".py") else [name]
    return shlex.join([*start, *sys.argv[1:]])


def versions(*more: str) -> dict[str, str]:
    """Python and the packages that can move a number (and `more`), those that are installed."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The machine: system, processor, cores this process may use, GPUs that torch sees."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def measurement(*packages: str) -> dict[str, Any]:
    """What a measured figure must carry: command, commit, versions, machine, date and how busy it was.

    Args:
        *packages: Further packages whose versions matter, e.g. what one is compared with.
    """
    return {
        "command": command(),
        "commit": _git(Path(__file__).parent, "describe", "--always", "--abbrev=40", "--dirty") or "unknown",
        "versions": versions(*packages),
        "hardware": hardware(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def git(folder: str | Path, save_in: str | Path, ending: str = "") -> list[dict[str, Any]]:
    """The state of the code: the repository one stands in, and metarl's own if it runs from a checkout.

    Args:
        folder: Where the user stands.
        save_in: Folder for `git-NAME.diff`, the difference of each changed repository from its commit, with modules
            that git does not know yet.
        ending: Of these names, before the dot.

    Returns:
        For each repository its `name`, `commit`, whether it is `dirty`, and the name of its `diff` file (or
        None); nothing where git is missing or this is no repository.
    """
    places = (folder, Path(__file__).parent)
    roots = dict.fromkeys(_git(place, "rev-parse", "--show-toplevel") for place in places)
    found: list[dict[str, Any]] = []
    for root in filter(None, roots):
        name = Path(root).name
        again = f"-{len(found) + 1}" if name in {each["name"] for each in found} else ""
        file = f"git-{name}{again}{ending}.diff"
        diff = _difference(root)
        entry = {
            "name": name,
            "commit": _git(root, "rev-parse", "HEAD"),
            "dirty": bool(_git(root, "status", "--porcelain")),
            "diff": file if diff else None,
        }
        if diff:
            data = (diff + "\n").encode(errors="replace")
            cut = data[:LARGEST_DIFF] + b"\n[cut]\n" if len(data) > LARGEST_DIFF else data
            (Path(save_in) / file).write_bytes(cut)
        found.append(entry)
    return found


def _difference(root: str) -> str:
    """Of a repository from its commit: what was changed, then new modules."""
    changed = _git(root, "diff", "HEAD", "--no-color") or ""
    new = (_git(root, "ls-files", "--others", "--exclude-standard", "-z", "*.py") or "").split("\0")
    added = (
        _git(root, "diff", "--no-index", "--no-color", os.devnull, name, codes=(0, 1))
        for name in list(filter(None, new))[:MOST_NEW_MODULES]
    )
    return "\n".join(filter(None, [changed, *added]))


def _git(folder: str | Path, *args: str, codes: Collection[int] = (0,)) -> str | None:
    """What git answers, None if it cannot or ends with another exit code."""
    try:
        line = ["git", "-C", str(folder), *args]
        done = subprocess.run(line, capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode not in codes:
        return None
    return done.stdout.decode(errors="replace").strip("\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
