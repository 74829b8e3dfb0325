"""Few-shot images: methods that learn a class from a few pictures, by name. Nothing heavy is imported here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.supervised.datasets import DATASETS as DATASETS
    from metarl.supervised.methods import METHODS as METHODS
    from metarl.supervised.methods import preset as preset

_HOMES = {
    "DATASETS": "metarl.supervised.datasets",
    "METHODS": "metarl.supervised.methods",
    "preset": "metarl.supervised.methods",
}
"""Where each name lives."""

__all__ = ["DATASETS", "METHODS", "preset"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'metarl.supervised' has no attribute '{name}'")
