"""Decoded images on disk, so that files are decoded once."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from metarl.files import write_atomically

FORMAT = "1"
"""Raised when what is kept changes."""


def cached(what: str, sources: Iterable[Path], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, kept in a folder of the user's own.

    It is made anew if a source has another size or time than before, or if what was kept is broken. Where nothing can be
    written it is made every time.

    Args:
        what: Name of the data and everything that the outcome depends on, such as the size of images.
        sources: Files that are decoded.
        make: Decodes them.
    """
    seen = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in sources]
    key = hashlib.sha256("\n".join([FORMAT, what, *seen]).encode()).hexdigest()[:16]
    kept = folder() / f"{what.replace(' ', '-')}-{key}.safetensors"
    found = _read(kept)
    if found is not None:
        return found
    made = {name: tensor.contiguous() for name, tensor in make().items()}
    _write(kept, made)
    return made


def folder() -> Path:
    """Where decoded images are kept: $METARL_CACHE, or ~/.cache/metarl/decoded."""
    return Path(os.environ.get("METARL_CACHE") or Path.home() / ".cache" / "metarl" / "decoded").expanduser()


def _read(path: Path) -> dict[str, Tensor] | None:
    """What was kept, if its checksum is right."""
    try:
        content, expected = path.read_bytes(), path.with_suffix(".sha256").read_text().strip()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != expected:
        return None
    try:
        return load(content)
    except SafetensorError:
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    content = save({name: tensor.to(torch.device("cpu")) for name, tensor in tensors.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        write_atomically(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
    except OSError:  # a read-only or full disk: everything works, only slower
        return
