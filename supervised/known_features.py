"""Features of all pictures of a store, found once: where they do not depend on the episode, judging needs no more.

Thousands of test episodes show the same few thousand pictures over and over. Normalised by stored averages, a picture
has the same features in each of them.

Legend: n pictures of a store, turned ones counted; D features.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.normalisation import embed_images

AT_ONCE = 500
"""Pictures that are embedded at a time."""
LARGEST = 2**30
"""Bytes of the largest table of features."""


class Watch:
    """A way to embed (see `normalisation.embedding_by`) that does as usual and finds out what is done.

    Attributes:
        net: The network last used, its params bound; None before any.
        fixed: Whether features depended on nothing but their picture so far.
    """

    def __init__(self) -> None:
        self.net: Callable[..., Tensor] | None = None
        self.fixed = True

    def __call__(
        self, net: Callable[..., Tensor], episode: Episode, statistics: Statistics, options: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Embed an episode."""
        self.net = net
        self.fixed = self.fixed and statistics == "running" and not options
        return embed_images(net, episode, statistics, **options)


class KnownFeatures(ClassStore):
    """A store whose pictures are their features already.

    Args:
        store: Images by class.
        table: Features of its pictures, those not turned first, shape (n, ...).
    """

    def __init__(self, store: ClassStore, table: Tensor):
        super().__init__(store.images, store.starts, store.names, rotations=store.rotations)
        self.table = table

    def pictures(self, index: Tensor, turns: Tensor | None = None) -> Tensor:
        """Features of pictures, shape (*index.shape, ...); arguments as of `ClassStore.pictures`."""
        place = index if turns is None else index + turns * len(self)
        return self.table[place]


def embed_known(
    net: Callable[..., Tensor], episode: Episode, statistics: Statistics, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """A way to embed (see `normalisation.embedding_by`) episodes of `KnownFeatures`."""
    return episode.support, episode.query


def known_features(net: Callable[..., Tensor], store: ClassStore) -> KnownFeatures | None:
    """Features of all pictures of a store by the stored averages of batch norm; None where they would be too large.

    Args:
        net: `net(images, statistics="running")` -> features.
        store: Images by class.
    """
    pictures = len(store) * store.rotations
    table: Tensor | None = None
    for places, features in embedded(net, store, AT_ONCE):
        if table is None:
            if features[0].numel() * features.element_size() * pictures > LARGEST:
                return None
            table = features.new_empty(pictures, *features.shape[1:])
        table[places] = features
    return None if table is None else KnownFeatures(store, table)


def embedded(net: Callable[..., Tensor], store: ClassStore, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of all pictures of a store by the stored averages of batch norm, those not turned first.

    Args:
        net: `net(images, statistics="running")` -> features.
        store: Images by class.
        at_once: Pictures that are embedded at a time.

    Yields:
        Places among the n pictures, and the features there.
    """
    for places in torch.arange(len(store) * store.rotations, device=store.device).split(at_once):
        turns = places // len(store) if store.rotations > 1 else None
        yield places, net(store.pictures(places % len(store), turns), statistics="running")
