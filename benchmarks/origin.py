"""Where a result comes from, in words: command, commit, machine."""

import re
from collections.abc import Mapping
from typing import Any


def source(found: Mapping[str, Any]) -> str:
    """A paragraph with the program, commit and machine of results."""
    hardware = {"hardware": found.get("hardware") or found.get("host") or {}}
    script = " ".join(found["command"].split()[:2])
    return f"\n\n`{script}`, {machine(hardware, str(found.get('commit', 'unknown'))[:9])}"


def machine(run: Mapping[str, Any], commit: str) -> str:
    """Commit and machine of a result, in words."""
    hardware = run["hardware"]
    parts = [f"commit {commit}"]
    if hardware.get("processor"):
        parts.append(f"{hardware['processor']}, {hardware.get('cores', '?')} cores")
    return ", ".join([*parts, *map(str, hardware.get("gpus", []))])


def pretrained_by(run: Mapping[str, Any]) -> str | None:
    """The few-shot method whose training gave a run its backbone or its features; None where its own method did."""
    for each in reversed(run.get("before", ())):
        (method,) = re.findall(r"fewshot train (\S+)", each["training"])
        if method != run["method"]:
            return str(method)
    return None
