"""Decoded images on disk, so that files are decoded once."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import copymode

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from metarl.files import files_under, write_atomically
from metarl.supervised.class_store import ClassStore

FORMAT = "2"
"""Raised when what is kept changes."""


def cached_store(
    what: str,
    sources: Iterable[Path],
    make: Callable[[], ClassStore],
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    also: Sequence[str] = (),
) -> ClassStore:
    """The store that `make` gives, its images and names kept like `cached` does.

    Args:
        what: As `cached` has it.
        sources: Likewise.
        make: Decodes them.
        mean: Of the channels, which are not kept.
        std: Likewise.
        also: As `cached` has it.
    """

    def tensors() -> dict[str, Tensor]:
        store = make()
        text = json.dumps([store.names, store.groups]).encode()
        return {"images": store.images, "starts": store.starts, "text": torch.tensor(list(text)).byte()}

    kept = cached(what, sources, tensors, also)
    names, groups = json.loads(bytes(kept["text"].tolist()))
    return ClassStore(kept["images"], kept["starts"], names, mean=mean, std=std, groups=groups)


def cached(
    what: str, sources: Iterable[Path], make: Callable[[], dict[str, Tensor]], also: Sequence[str] = ()
) -> dict[str, Tensor]:
    """What `make` gives, kept in a folder of the user's own.

    It is made anew, in place of the old, if a source has another size or time than before, or if what was kept is broken.
    Where nothing can be written it is made every time.

    Args:
        what: Name of the data and everything that the outcome depends on, such as the size of images.
        sources: Files that are decoded, and folders with all that is in them.
        make: Decodes them.
        also: What else the outcome depends on; what was made of others is replaced.
    """
    places = [source.resolve() for source in sources]
    start = f"{what.replace(' ', '-')}-{_short(map(str, places))}-"
    state = _short([FORMAT, *also, *(line for place in places for line in _state(place))])
    kept = folder() / f"{start}{state}.safetensors"
    found = _read(kept)
    if found is not None:
        return found
    made = {name: tensor.contiguous() for name, tensor in make().items()}
    _write(kept, made)
    _delete_older(kept, start)
    return made


def folder() -> Path:
    """Where decoded images are kept: $METARL_CACHE, or ~/.cache/metarl/decoded."""
    return Path(os.environ.get("METARL_CACHE") or Path.home() / ".cache" / "metarl" / "decoded").expanduser()


def _short(lines: Iterable[str]) -> str:
    """A hash, short enough for a file's name."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _state(source: Path) -> Iterator[str]:
    """Path, size and time of a file, or of all in a folder."""
    for path in sorted(files_under(source)) if source.is_dir() else (source,):
        found = path.stat()
        yield f"{path} {found.st_size} {found.st_mtime_ns}"


def _read(path: Path) -> dict[str, Tensor] | None:
    """What was kept, if its checksum is right; the tensors lie in the file until they are used."""
    try:
        expected = path.with_suffix(".sha256").read_text().strip()
        return load_file(path) if _checksum(path) == expected else None
    except (OSError, SafetensorError):
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, beside)
        write_atomically(path.with_suffix(".sha256"), _checksum(beside).encode())
        copymode(path.with_suffix(".sha256"), beside)  # safetensors would let nobody else read it
        beside.replace(path)
    except (OSError, SafetensorError):  # a read-only or full disk: everything works, only slower
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _delete_older(kept: Path, start: str) -> None:
    """What was made of earlier states of the same files, and what processes that are gone had begun to write."""
    with suppress(OSError):
        for path in kept.parent.iterdir():
            old = path.name.startswith(start) and path.stem != kept.stem
            if old or (path.name.startswith(f".{start}") and not _is_running(path.stem.rpartition(".")[2])):
                path.unlink(missing_ok=True)


def _is_running(process: str) -> bool:
    """Whether there is a process of a number; yes if it cannot be known."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
