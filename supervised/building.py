"""From a run's settings to its method and data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metarl.configs import from_dict
from metarl.nn import BatchNorm
from metarl.runs import Run
from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import DATASETS, load, settled, settled_root
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.method import Method
from metarl.supervised.task_kinds import Store

VERB = "metarl fewshot train"
"""What a run is resumed by."""
CLASS_NAMES = "class_names"
"""The entry of a run's config with the names of its training classes."""


def stored(run: Run) -> tuple[str, FewShotExperiment, Any]:
    """Name of the method, experiment and configuration that a run keeps.

    Raises:
        ValueError: It is the run of an agent.
    """
    if "method" not in run.config and "agent" in run.config:
        raise ValueError(
            f"{run.path} is a run of an agent; use `metarl evaluate` and `metarl train` without fewshot"
        )
    run.check_whole("method")
    experiment = from_dict(FewShotExperiment, run.config["experiment"])
    method = run.config["method"]
    kind = type(preset(method, experiment.data, experiment.way, experiment.shot))
    return method, experiment, from_dict(kind, run.config["config"])


def best_path(run: Run) -> Path:
    """Where a run keeps its best state, without suffix."""
    return run.checkpoints / "best"


def has_batch_norm(method: Method) -> bool:
    """Whether the normalisation mode makes a difference."""
    return any(isinstance(each, BatchNorm) for each in method.module.modules())


def built(
    settings: dict[str, Any], experiment: FewShotExperiment, config: Any, device: torch.device
) -> Method:
    """A method with fresh parameters, the same for equal seeds, on a device."""
    torch.manual_seed(experiment.seed)
    image = tuple(settings["image"])
    model = build(settings["method"], config, image, settings["classes"], experiment.way, experiment.shot)
    model.module.to(device)
    return model


def placed(experiment: FewShotExperiment) -> tuple[FewShotExperiment, str]:
    """The experiment with absolute paths to what it reads, and what the data are called in the run's path."""
    data, root = settled(experiment.data), settled_root(experiment.data_root)
    start = experiment.start_from
    start = None if start is None else str(Path(start).resolve())
    return replace(experiment, data=data, data_root=root, start_from=start), Path(data).name


def load_both(experiment: FewShotExperiment, device: torch.device) -> tuple[Store, Store]:
    """Training and validation images of an experiment, on a device."""
    train = load_split(experiment, "train", device)
    return train, load_split(experiment, "validation", device, train.image)


def load_split(
    experiment: FewShotExperiment, split: str, device: torch.device, image: Sequence[int] | None = None
) -> Store:
    """Images of one split of an experiment's data, on a device.

    Args:
        experiment: Says which data.
        split: `train`, `validation` or `test`.
        device: Where they shall lie.
        image: Shape that they must have; unset, any.

    Raises:
        ValueError: They have another.
    """
    store = load(
        experiment.data, split, root=experiment.data_root, size=experiment.image_size, device=str(device)
    )
    if image is not None and tuple(store.image) != tuple(image):
        raise ValueError(
            f"{experiment.data}: the {split} split has inputs of shape {tuple(store.image)}, those of training have "
            f"{tuple(image)}; all splits need the same"
        )
    return store


def classes_of_folder(experiment: FewShotExperiment, train: Store) -> dict[str, list[str]]:
    """What a run's config keeps of a folder of class folders, which may grow: the names of its training classes."""
    if experiment.data in DATASETS or not isinstance(train, ClassStore) or not train.has_pictures:
        return {}
    return {CLASS_NAMES: train.names}


def check_same_classes(run: Run, train: Store) -> None:
    """Refuse to go on training on other classes.

    Raises:
        ValueError: They are not those that the run began with.
    """
    had, names = run.config["classes"], run.config.get(CLASS_NAMES)
    if train.num_classes == had and (names is None or names == train.names):
        return
    changed = "" if names is None else f", of which {len(set(names) & set(train.names))} are the same"
    raise ValueError(
        f"{run.path} was trained on {had} classes, but now its data have {train.num_classes} to train on{changed}: "
        "put the data back as they were, or train anew. Folders train, validation and test keep every class in its split"
    )


def check_unseen(run: Run, store: Store, split: str) -> None:
    """Refuse to judge by classes that were trained on, as where a folder has grown and was shared out anew.

    Raises:
        ValueError: A validation or test class is one of them, or a training class is not.
    """
    names = run.config.get(CLASS_NAMES)
    if names is None or not isinstance(store, ClassStore):
        return
    seen = set(names)
    wrong = [each for each in store.names if (each in seen) != (split == "train")]
    if wrong:
        raise ValueError(
            f"{run.path}: {len(wrong)} {split} classes of its data were {'not ' if split == 'train' else ''}trained on, "
            f"such as {', '.join(wrong[:3])}: put the data back as they were, or train anew. Folders train, validation "
            "and test keep every class in its split"
        )
