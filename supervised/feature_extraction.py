"""Features that a trained network finds in whole splits, as files on which other methods can be trained.

Legend: n pictures of a split, turned ones counted; D features.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.numpy import save
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl import devices
from metarl.configs import read_json, write_json
from metarl.files import write_atomically
from metarl.nn.convolution import low_precision
from metarl.progress import Progress
from metarl.provenance import measurement
from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import SPLITS, features_file
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.known_features import Watch, embedded
from metarl.supervised.normalisation import embedding_by
from metarl.supervised.task_kinds import sampler_of

AT_ONCE = 100
"""Pictures that are embedded at a time."""
ORIGIN = "origin.json"
"""The file beside the features that says whose they are."""
Network = Callable[..., Tensor]
"""`net(images, statistics="running")` -> features: from (n, C, H, W) to (n, ...)."""


@torch.no_grad()
def write_features(
    trained: FewShotRun,
    out: str | Path,
    splits: Sequence[str] = SPLITS,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    quiet: bool = False,
) -> list[Path]:
    """Write the features of every picture of some splits of a run's data, normalised by stored averages.

    The folder can take the place of a data set's name: see `metarl.supervised.datasets.features`. A file is written when
    its split is done. `origin.json` says whose features they are: the run and its state, its data, the command.

    Args:
        trained: A run whose features of a picture depend on nothing but the picture; its best state in validation counts.
        out: Folder of the files, made where it is missing. A split that it holds already is refused.
        splits: `train`, `validation` or `test`.
        precision: What convolutions multiply in.
        quiet: Show no progress.

    Returns:
        The files, `SPLIT.safetensors` with `features` float32 (n, D) and `labels` int64 (n,), the number of the class in
        its split.

    Raises:
        ValueError: The data are no pictures, features depend on the episode, or the folder holds a split already or
            another run's features, or those of another state or precision.
    """
    out = Path(out)
    if not trained.labels_pictures:
        raise ValueError(f"{trained.path} was trained on {trained.experiment.data}, which are no pictures")
    run = str(trained.path.resolve())
    about = _refuse_mixture(out, run, splits)
    device = devices.resolve(trained.experiment.device)
    stores = {split: trained.load(split, device) for split in splits}
    net, state = fixed_network(trained, next(iter(stores.values())))
    _refuse_other(out, about, {"steps": state["steps"], "precision": precision})
    out.mkdir(parents=True, exist_ok=True)
    origin = {"run": run, "method": trained.name, "data": trained.experiment.data, "precision": precision}
    write_json(out / ORIGIN, {**origin, **state, **measurement()})
    written = []
    total = sum(len(store) * store.rotations for store in stores.values())
    shown = Progress(f"features of {trained.path}", total, quiet=quiet, unit="pictures")
    with low_precision(precision == "bfloat16"), shown as progress:
        progress.start(0)
        for split, store in stores.items():
            features = _features(net, store, progress)
            labels = torch.arange(store.num_classes).repeat_interleave(store.sizes)
            tensors = {"features": features.numpy(), "labels": labels.numpy()}
            path = out / f"{split}.safetensors"
            write_atomically(path, save(tensors))
            written.append(path)
            number, size = features.shape
            progress.say(
                f"{path}: {number:,} pictures of {store.num_classes:,} classes, {size:,} numbers each"
            )
    return written


def _refuse_mixture(out: Path, run: str, splits: Sequence[str]) -> dict[str, Any]:
    """What is known of the features that are there; neither are files replaced, nor those of several runs mixed."""
    if not splits:
        raise ValueError(f"no splits were named, expected one or more of {', '.join(SPLITS)}")
    for split in splits:
        if (there := features_file(out, split)) is not None:
            raise ValueError(f"{there} exists already: delete it, leave out {split}, or name another folder")
    about = read_json(out / ORIGIN) if (out / ORIGIN).is_file() else {"run": run}
    if not isinstance(about, dict) or about.get("run") != run:
        raise ValueError(f"{out} holds features of another run, as its {ORIGIN} says: name another folder")
    return about


def _refuse_other(out: Path, about: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Neither are features of several states or precisions put into one folder."""
    for name, value in now.items():
        if about.get(name, value) != value:
            raise ValueError(
                f"{out} holds features of {name} {about[name]}, as its {ORIGIN} says, and these are of {value}: name "
                "another folder"
            )


def _features(net: Network, store: ClassStore, progress: Progress) -> Tensor:
    """Of all pictures of a store, on the CPU, (n, D)."""
    found = []
    for places, features in embedded(net, store, AT_ONCE):
        found.append(features.flatten(1).float().cpu())
        progress.update(progress.step + len(places), {})
    return torch.cat(found)


def fixed_network(trained: FewShotRun, store: ClassStore) -> tuple[Network, dict[str, Any]]:
    """The network of a run's best state, with the stored averages of batch norm, and what is known of that state.

    Args:
        trained: Any run on pictures.
        store: Pictures of its data, where the network shall lie.

    Raises:
        ValueError: What it makes of a picture depends on the episode, as where it adapts to every task.
    """
    model, state = trained.method(store.device)
    watch = Watch()
    if model.embeds:
        params = {name: each.detach() for name, each in model.module.named_parameters()}
        one = sampler_of(store, 2, 1, 1).draw(1, torch.Generator().manual_seed(0))
        with embedding_by(watch):
            model.tested(params, pytree.tree_map(lambda each: each[0], one), "running")
    if watch.net is None or not watch.fixed:
        raise ValueError(
            f"features of '{trained.name}' depend on the episode: give a run of a method that compares features by "
            "stored averages, such as prototypical, classifier-baseline or meta-baseline"
        )
    return watch.net, state
