"""Pickled arrays without the code that a pickle may carry."""

import pickle
from collections import OrderedDict
from typing import IO, Any

import numpy as np

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # NumPy 1
    from numpy.core.multiarray import _reconstruct, scalar


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


def _latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes into old protocols for bytes."""
    if encoding != "latin1":
        raise _RefusedError(f"text in {encoding}")
    return text.encode("latin1")


def _empty(kind: Any, shape: tuple[int, ...], code: bytes | str) -> np.ndarray:
    """An array to be filled, of NumPy's own kind only."""
    if kind is not np.ndarray:
        raise _RefusedError("an array of another kind")
    return _reconstruct(kind, shape, code)


def _filled(
    content: bytes, kind: np.dtype, shape: tuple[int, ...], order: str, axes: tuple[int, ...] | None = None
) -> np.ndarray:
    """An array as protocol 5 keeps it; `axes` is how it lay in memory, if neither by rows nor by columns."""
    flat = np.frombuffer(content, kind)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy.core.numeric", "_frombuffer"): _filled,
    ("numpy._core.numeric", "_frombuffer"): _filled,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
}
"""Module and name of what a pickle may ask for."""


class _RefusedError(Exception):
    """A pickle asked for something that is not allowed."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return ALLOWED[module, name]
