"""Few-shot images: methods that learn a class from a few pictures, by name. Nothing heavy is imported here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.supervised.datasets import DATASETS as DATASETS
    from metarl.supervised.datasets.one_shot_runs import one_shot_runs as one_shot_runs
    from metarl.supervised.methods import METHODS as METHODS
    from metarl.supervised.methods import preset as preset
    from metarl.supervised.one_shot import one_shot_error as one_shot_error

_HOMES = {
    "DATASETS": "metarl.supervised.datasets",
    "METHODS": "metarl.supervised.methods",
    "one_shot_error": "metarl.supervised.one_shot",
    "one_shot_runs": "metarl.supervised.datasets.one_shot_runs",
    "preset": "metarl.supervised.methods",
}
"""Where each name lives."""

__all__ = ["DATASETS", "METHODS", "one_shot_error", "one_shot_runs", "preset"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'metarl.supervised' has no attribute '{name}'")
