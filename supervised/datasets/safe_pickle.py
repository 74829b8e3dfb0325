"""Pickled arrays without the code that a pickle may carry.

NumPy believes what a pickle says of an array: numbers can be passed off as objects, whose addresses the sender chooses.
So types and arrays are made here, of plain numbers, texts and lists of objects only, and their sizes are checked.
"""

import math
import pickle
import re
from collections import OrderedDict
from typing import IO, Any

import numpy as np

PLAIN = re.compile(r"[biufcSU]\d+|O8?")
"""Types that arrays may have: numbers, texts and objects."""


def load(file: IO[bytes], name: str) -> Any:
    """Numbers, texts, lists, dicts and NumPy arrays of a pickle, also of one that Python 2 wrote.

    Args:
        file: Open, at the pickle's beginning.
        name: For messages.

    Raises:
        ValueError: It is broken, or asks for anything else, which could run code; nothing of it is run.
    """
    try:
        return _Plain(file, encoding="latin1").load()
    except _RefusedError as error:
        raise ValueError(
            f"{name} asks for '{error}', which no data need and which could run code: nothing of it was run; "
            "delete it, and fetch it from a place that you trust"
        ) from None
    except Exception as error:  # a broken pickle fails in any way
        raise ValueError(
            f"{name} is broken or was not fetched to its end ({error}): delete it, to have it fetched again"
        ) from None


class _RefusedError(Exception):
    """A pickle asked for something that is not allowed."""


class _Kind:
    """A type of numbers, in place of NumPy's own, whose state a pickle could set to anything."""

    def __init__(self, code: str):
        if not PLAIN.fullmatch(code):
            raise _RefusedError(f"numbers of type {code}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Only the order of bytes is taken; parts and fields are refused."""
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("numbers of more than one part")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that takes what a pickle says of it only if it holds together."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """From version, shape, type, whether columns come first, and content."""
        _, shape, kind, by_columns, content = state
        dtype, content = _dtype(kind), _as_bytes(content)
        expected = (list, 1) if dtype.hasobject else (bytes, dtype.itemsize)
        found = type(content), len(content)
        if found != (expected[0], expected[1] * math.prod(shape)) or any(each < 0 for each in shape):
            raise _RefusedError(f"an array of {shape} {dtype} of other content")
        super().__setstate__((1, shape, dtype, by_columns, content))


def _dtype(kind: _Kind) -> np.dtype:
    if type(kind) is not _Kind:
        raise _RefusedError(f"numbers of type {kind}")
    return kind.dtype


def _kind(code: str, *_: Any) -> _Kind:
    return _Kind(code)


def _ndarray(*_: Any) -> None:
    """NumPy's class, which is only named, never called."""
    raise _RefusedError("an array that is not rebuilt")


def _empty(kind: Any, *_: Any) -> _Array:
    """An array to be filled, of NumPy's own kind only."""
    if kind is not _ndarray:
        raise _RefusedError("an array of another kind")
    return _Array((0,), np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes into old protocols for bytes."""
    if encoding != "latin1":
        raise _RefusedError(f"text in {encoding}")
    return text.encode("latin1")


def _as_bytes(content: Any) -> Any:
    """Texts of Python 2 were bytes."""
    return content.encode("latin1") if type(content) is str else content


def _numbers(content: bytes | bytearray, kind: _Kind) -> np.ndarray:
    """Numbers that lie in bytes; NumPy refuses objects here."""
    if type(content) not in (bytes, bytearray):
        raise _RefusedError("numbers that are no bytes")
    return np.frombuffer(content, _dtype(kind))


def _scalar(kind: _Kind, content: bytes) -> Any:
    """One number or text."""
    (number,) = _numbers(_as_bytes(content), kind)
    return number


def _filled(
    content: bytes | bytearray, kind: _Kind, shape: tuple[int, ...], order: str, axes: Any = None
) -> np.ndarray:
    """An array as protocol 5 keeps it; `axes` is how it lay in memory, if neither by rows nor by columns."""
    flat = _numbers(content, kind)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _kind,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _filled,
    ("numpy._core.numeric", "_frombuffer"): _filled,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
}
"""Module and name of what a pickle may ask for, and what it is given."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return ALLOWED[module, name]
