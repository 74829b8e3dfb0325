"""Features of images that were computed before, in a folder with a file for each split.

A file is `train`, `val` (or `validation`) or `test`, with or without `_embeddings` (or `_features`) after it. It holds

- as `.safetensors` or `.npz`: `features` (or `embeddings`) of shape (n, D) and `labels` (n,), or an array (n, D) for each
  class, named after it;
- as `.pkl` or `.pickle`: a dict of `embeddings` (n, D) and `keys`, texts of the form "image-class-file", as LEO's authors
  supply them; or of `features` (or `embeddings`) and `labels`.

Nothing in a file is run: `.npz` is read without pickles, and a pickle by `safe_pickle`. Features are images with D
channels and one pixel, in float32.
"""

import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import FEATURE_SUFFIXES, features_file, safe_pickle

TABLES = ("features", "embeddings")
"""What a table of features is called."""


def load(data: str, split: str, root: Path, size: int | None, *, download: bool = True) -> ClassStore:
    """Features of a split.

    Args:
        data: The folder.
        split: `train`, `validation` or `test`.
        root: Means nothing here.
        size: Must be unset: features have no height and width.
        download: Means nothing here.

    Raises:
        ValueError: The split has no file, the file is broken or asks for code, or features and classes do not fit.
    """
    if size is not None:
        raise ValueError(f"image_size={size}, but {data} holds features, which have no size: leave it out")
    path = features_file(Path(data), split)
    if path is None:
        named = " or ".join(f"{split}{suffix}" for suffix in FEATURE_SUFFIXES)
        raise ValueError(f"{data} holds features, but none of the {split} classes: expected a file {named}")
    features, labels = _table(path, _content(path))
    return ClassStore.of_labelled(_checked(path, features, labels), labels)


def _content(path: Path) -> Mapping[str, Any]:
    """What lies in a file, by name."""
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
            return {
                name: (each.float() if each.is_floating_point() else each).numpy()
                for name, each in tensors.items()
            }
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile, EOFError, tokenize.TokenError) as error:
        raise ValueError(
            f"{path} cannot be read as {path.suffix}, and no code in it is run: {error}"
        ) from None
    with path.open("rb") as file:
        found = safe_pickle.load(file, str(path))
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds a {type(found).__name__}, expected a dict of embeddings and keys")
    return found


def _table(path: Path, content: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Features and the class of each."""
    name = next((each for each in TABLES if each in content), None)
    if name is not None and "labels" in content:
        return content[name], [_text(label) for label in content["labels"]]
    if name is not None and "keys" in content:
        return content[name], [_class_of(path, _text(key)) for key in content["keys"]]
    if path.suffix in (".pkl", ".pickle") or not content or name is not None:
        raise ValueError(
            f"{path} holds {sorted(map(str, content)) or 'nothing'}, expected `embeddings` and `keys`, or `features` "
            "and `labels`" + ("" if path.suffix in (".pkl", ".pickle") else ", or an array for each class")
        )
    shapes = {each: np.shape(array) for each, array in content.items()}
    odd = [each for each, shape in shapes.items() if len(shape) != 2]
    if odd or len({shape[1] for shape in shapes.values()}) > 1:
        raise ValueError(
            f"{path}: arrays of classes must have shape (n, D) with the same D, got "
            + ", ".join(f"{each} {shapes[each]}" for each in (odd or list(shapes))[:3])
        )
    labels = [each for each, shape in shapes.items() for _ in range(shape[0])]
    return np.concatenate(list(content.values())), labels


def _text(label: Any) -> str:
    """A label as text; numbers with zeros before them, so that they keep their order."""
    if isinstance(label, bytes):
        return label.decode("latin1")
    return f"{int(label):06d}" if isinstance(label, int | np.integer) else str(label)


def _class_of(path: Path, key: str) -> str:
    """The class in a key of LEO's authors."""
    parts = key.split("-")
    if len(parts) != 3:
        raise ValueError(f'{path} has the key "{key}", expected "image-class-file"')
    return parts[1]


def _checked(path: Path, features: Any, labels: list[str]) -> Tensor:
    """Features as images of one pixel, float32, shape (n, D, 1, 1)."""
    array = np.asarray(features)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: features must be numbers of shape (n, D), got {array.dtype} {array.shape}")
    if len(labels) != len(array):
        raise ValueError(f"{path}: {len(array)} features need as many classes, got {len(labels)}")
    table = torch.from_numpy(array.astype(np.float32))
    broken = (~table.isfinite().all(1)).nonzero().flatten()
    if len(broken):
        raise ValueError(f"{path}: {len(broken)} features are not finite, the first in row {int(broken[0])}")
    return table[:, :, None, None]
