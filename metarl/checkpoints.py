"""Checkpoints: tensors as safetensors, everything else as JSON beside them; never a pickle.

`step_000100000.safetensors` is written first and `step_000100000.json` last, each in one step, and the JSON
holds the digest of the tensors. So a checkpoint exists only when it is whole, however the process ended.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from metarl.configs import read_json
from metarl.files import sync_folder, write_beside

FORMAT = 1
"""The number of this layout; raised when older code could not read what newer code writes."""

log = logging.getLogger(__name__)


class NewerFormat(ValueError):
    """A checkpoint was written by a later version."""


def save(path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write one checkpoint, whole or not at all.

    Args:
        path: Where, without a suffix, e.g. `checkpoints/step_000100000`. The folder is made if need be.
        tensors: Any tensors by name, on any device.
        state: JSON values; `format` and `tensors` are added.

    Returns:
        The path of the JSON file.

    Raises:
        ValueError: `state` holds what JSON cannot say.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = tensors_to_bytes({name: _alone(tensor) for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    whole = {"format": FORMAT, **state, "tensors": {"sha256": digest, "bytes": len(data)}}
    try:
        text = json.dumps(whole, indent=2)
    except TypeError as error:
        raise ValueError(f"checkpoint state cannot be written as JSON: {error}") from None
    described, stored = _with(path, ".json"), _with(path, ".safetensors")
    new = [write_beside(stored, data)]  # both before the old ones go: the disk may be full
    try:
        new.append(write_beside(described, (text + "\n").encode()))
        described.unlink(missing_ok=True)  # an older one of that name must not vouch for the new tensors
        sync_folder(path.parent)
        new[0].replace(stored)
        new[1].replace(described)
    finally:
        for each in new:
            each.unlink(missing_ok=True)
    sync_folder(path.parent)
    return described


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read one checkpoint and make sure it is whole.

    Args:
        path: With or without a suffix.

    Returns:
        The tensors by name, on the CPU, and the state.

    Raises:
        ValueError: it is incomplete, corrupt, or of a format this version does not know.
    """
    path = Path(path)
    if path.suffix in (".json", ".safetensors"):
        path = path.with_suffix("")
    state = read_json(_with(path, ".json"))
    number = state.get("format") if isinstance(state, dict) else None
    if not isinstance(number, int) or not isinstance(state.get("tensors"), dict):
        raise ValueError(f"{path}.json does not describe a checkpoint of metarl")
    if number > FORMAT:
        raise NewerFormat(
            f"{path} has checkpoint format {number}, this metarl reads up to {FORMAT}; install a newer metarl"
        )
    try:
        data = _with(path, ".safetensors").read_bytes()
    except FileNotFoundError:
        raise ValueError(f"checkpoint {path} is incomplete: it has no .safetensors file") from None
    if hashlib.sha256(data).hexdigest() != state["tensors"].get("sha256"):
        expected = state["tensors"].get("bytes")
        raise ValueError(f"checkpoint {path} is corrupt: its tensors ({len(data)} bytes, {expected} written) "
                         "are not those it was saved with")  # fmt: skip
    try:
        return tensors_from_bytes(data), state
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is corrupt: {error}") from None


def complete(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder that have both files, oldest first, without suffix."""
    names = [each for each in Path(folder).glob("step_*.json") if each.stem.removeprefix("step_").isdigit()]
    names.sort(key=lambda each: int(each.stem.removeprefix("step_")))
    return [each.with_suffix("") for each in names if each.with_suffix(".safetensors").exists()]


def latest(folder: str | Path) -> Path | None:
    """The newest checkpoint in a folder that can be read, without suffix; None if there is none.

    A damaged one is passed over with a warning.

    Raises:
        NewerFormat: The newest one is of a later version.
    """
    for path in reversed(complete(folder)):
        try:
            load(path)
        except NewerFormat:
            raise
        except ValueError as error:
            log.warning("passing over a checkpoint: %s", error)
        else:
            return path
    return None


def prune(folder: str | Path, keep: int | None) -> None:
    """Delete all but the newest `keep` checkpoints; None keeps all."""
    if keep is None:
        return
    if keep < 1:
        raise ValueError(f"keep={keep}, expected at least 1 or None for all")
    for path in complete(folder)[:-keep]:
        delete(path)


def delete(path: str | Path) -> None:
    """Remove a checkpoint (without suffix)."""
    for suffix in (".json", ".safetensors"):  # the JSON first: then it no longer counts as one
        _with(Path(path), suffix).unlink(missing_ok=True)


def check_matches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """Make sure that stored tensors fit where they shall go.

    Args:
        expected: What is there now.
        found: What was read.
        what: What is being loaded, for the message.

    Raises:
        ValueError: listing every name that is missing, unknown, or of another shape or type.
    """
    problems = [f"'{name}' is missing from the checkpoint" for name in expected if name not in found]
    problems += [f"'{name}' is only in the checkpoint" for name in found if name not in expected]
    for name in (name for name in expected if name in found):
        here, there = expected[name], found[name]
        if here.shape != there.shape:
            problems.append(f"'{name}' has shape {tuple(there.shape)} there, {tuple(here.shape)} here")
        elif here.dtype != there.dtype:
            problems.append(f"'{name}' has type {there.dtype} there, {here.dtype} here")
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"the checkpoint does not fit {what}; was it made with another config?\n  {listed}")


def load_module(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put stored parameters and buffers into a module, in place.

    Raises:
        ValueError: names, shapes or types differ (see `check_matches`).
    """
    current = module.state_dict()
    check_matches(current, tensors, type(module).__name__)
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(tensors[name])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix.`, by the rest of their names."""
    return {name[len(prefix) + 1 :]: each for name, each in tensors.items() if name.startswith(f"{prefix}.")}


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that shares memory with no other, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()
