"""Agents that come with the package: trained, whole, ready to be looked at."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.names import unknown

if TYPE_CHECKING:
    from metarl.agents.agent_run import AgentRun

ZOO: dict[str, str] = {
    "cheetah-dir": "meta-sgd on CheetahDir-v0: finds out by one inner step whether it is to run forward or backward",
}
"""Every trained agent's name and what it is, in one line."""


def pretrained(name: str, out: str | Path = "runs/pretrained") -> "AgentRun":
    """A trained agent of the package, as a run in a folder of its own.

    The folder is a copy, so that what is found and filmed with it has a place to lie. One that is there already is opened
    as it is.

    Args:
        name: A key of `ZOO`.
        out: Where the copy is made, `out/name`.

    Raises:
        ValueError: There is no such agent; the message names the nearest.
    """
    from metarl.agents.agent_run import AgentRun
    from metarl.runs import Run

    if name not in ZOO:
        raise unknown("pretrained agent", name, ZOO)
    path = Path(out) / name
    if not (path / "run.json").exists():
        with as_file(files("metarl.agents.zoo") / name) as source:
            shutil.copytree(source, path, dirs_exist_ok=True)
    return AgentRun(Run.open(path))
