"""Training on all training classes at once, as a stage of a method.

Legend: B images of a batch, C channels, H and W height and width, D features, K training classes.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metarl import distributed
from metarl.names import unknown
from metarl.supervised.augmentation import AUGMENTATIONS
from metarl.supervised.class_store import ClassStore
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Params, Stage


class Labelled(NamedTuple):
    """Images and their classes."""

    images: Tensor
    """Shape (B, C, H, W)."""
    labels: Tensor
    """Numbers of the classes, int64, shape (B,)."""


def draw_labelled(store: ClassStore, number: int, generator: torch.Generator) -> Labelled:
    """Random images of all classes, each as likely as any other (a turned one is another); with replacement.

    Args:
        store: Images by class.
        number: B.
        generator: On the CPU.
    """
    chosen = torch.randint(len(store) * store.rotations, (number,), generator=generator)
    rows, turns = chosen % len(store), chosen // len(store)
    labels = torch.searchsorted(store.starts, rows, right=True) - 1 + turns * len(store.names)
    device = store.images.device
    turned = turns.to(device) if store.rotations > 1 else None
    return Labelled(store.pictures(rows.to(device), turned), labels.to(device))


def draw_batch(
    store: ClassStore, generator: torch.Generator, progress: float, *, batch: int, augment: str
) -> Labelled:
    """This rank's part of a batch, its images changed at random; a stage's `draw`.

    Raises:
        ValueError: Features are to be changed like images.
    """
    store.check_augment(augment)
    images, labels = draw_labelled(store, batch, generator)
    return distributed.part(Labelled(AUGMENTATIONS[augment](images, generator), labels))


def classification_loss(
    net: Callable[..., Tensor], params: Params, batch: Labelled
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy of a linear head on the features; a stage's `loss`.

    Args:
        net: `net(params, images)` -> features (B, D).
        params: Hold `head.weight` (K, D) and `head.bias` (K,) as well.
        batch: Images of the K classes.
    """
    logits = F.linear(net(params, batch.images), params["head.weight"], params["head.bias"])
    right = (logits.detach().argmax(-1) == batch.labels).to(torch.float32).mean()
    return F.cross_entropy(logits, batch.labels), {"classification_accuracy": right}


def classification_stage(
    net: Callable[..., Tensor],
    batch: int,
    augment: str,
    share: float,
    optimizer: EpisodicTraining | None = None,
) -> Stage:
    """A part of the training that classifies all training classes.

    Args:
        net: `net(params, images)` -> features (B, D).
        batch: Images of one update.
        augment: A key of `AUGMENTATIONS`.
        share: Of the training's updates.
        optimizer: Of this part alone, of the network and its head; unset, the training's.

    Raises:
        ValueError: The augmentation is unknown.
    """
    if augment not in AUGMENTATIONS:
        raise unknown("augmentation", augment, AUGMENTATIONS)
    draw, loss = partial(draw_batch, batch=batch, augment=augment), partial(classification_loss, net)
    return Stage(draw, loss, share, optimizer, ("*",) if optimizer is None else ("net.*", "head.*"))
