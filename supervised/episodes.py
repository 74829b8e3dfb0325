"""Few-shot episodes, drawn as tensor operations.

Legend: T tasks, W ways (classes), S shots, Q queries of each class, C channels, H and W' height and width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.supervised.augmentation import AUGMENTATIONS
from metarl.supervised.class_store import ClassStore


class Episode(NamedTuple):
    """One few-shot task, or many with a leading axis T on every tensor.

    Rows are sorted by class: the S images of class 0, then those of class 1 ..; so are the queries. Labels are
    places in `classes`, which come in random order.
    """

    support: Tensor
    """Images to learn from, shape (W S, C, H, W')."""
    support_labels: Tensor
    """Their classes, int64 in [0, W), shape (W S,)."""
    query: Tensor
    """Images to be judged on, shape (W Q, C, H, W')."""
    query_labels: Tensor
    """Their classes, shape (W Q,)."""
    classes: Tensor
    """Numbers of the classes in their store, shape (W,)."""

    @property
    def way(self) -> int:
        """W."""
        return self.classes.shape[-1]


class EpisodeSampler:
    """Draws episodes from a store of classes.

    Args:
        store: Images by class.
        way: Classes of an episode, W.
        shot: Support images of each class, S.
        query: Query images of each class, Q.
        augment: What is done to every image drawn, a key of `AUGMENTATIONS`.

    Raises:
        ValueError: There are too few classes, or a class has too few images (the message names it); or features are to
            be changed like images.
    """

    def __init__(self, store: ClassStore, way: int, shot: int, query: int, augment: str = "none"):
        self.store, self.way, self.shot, self.query, self.augment = store, way, shot, query, augment
        self._sizes, self._starts = store.sizes.cpu(), store.starts.cpu()
        self._check()
        places = torch.arange(way, device=store.images.device)
        self._labels = places.repeat_interleave(shot), places.repeat_interleave(query)
        self._largest = int(self._sizes.max())
        self._equal = bool((self._sizes == self._largest).all())

    def _check(self) -> None:
        store, needed = self.store, self.shot + self.query
        if self.way < 1 or self.shot < 1 or self.query < 0:
            got = f"way={self.way}, shot={self.shot}, query={self.query}"
            raise ValueError(
                f"an episode needs way and shot of at least 1 and query of at least 0, got {got}"
            )
        if self.way > store.num_classes:
            raise ValueError(
                f"an episode of {self.way} ways needs as many classes, but there are {store.num_classes}: "
                "lower the way"
            )
        store.check_augment(self.augment)
        size, smallest = (int(value) for value in self._sizes.min(0))
        if size < needed:
            name = store.names[smallest % len(store.names)]
            few = int((self._sizes < needed).sum())
            raise ValueError(
                f"class '{name}' has {size} images, but {self.shot} shots and {self.query} queries need {needed} "
                f"({few} of {store.num_classes} classes are too small): lower the shot or the query "
                "(--training.query), or leave small classes out (in Python: `ClassStore.subset`)"
            )

    def draw(self, tasks: int, generator: torch.Generator, preferred: Tensor | None = None) -> Episode:
        """Episodes with a leading axis T.

        Classes without replacement, images within a class without replacement. Indices are drawn on the CPU, so a
        generator's state gives the same episodes on every device.

        Args:
            tasks: T.
            generator: On the CPU.
            preferred: Numbers of classes; others come only where these are too few. None: all classes are alike.
        """
        classes, rows, turns = self.indices(tasks, generator, preferred)
        device, split = self.store.images.device, self.way * self.shot
        pictures = self.store.pictures(rows.to(device), None if turns is None else turns.to(device))
        if self.augment != "none":
            changed = AUGMENTATIONS[self.augment](pictures.flatten(0, 1), generator)
            pictures = changed.view_as(pictures)
        support_labels, query_labels = (labels.expand(tasks, -1) for labels in self._labels)
        return Episode(
            pictures[:, :split], support_labels, pictures[:, split:], query_labels, classes.to(device)
        )

    def indices(
        self, tasks: int, generator: torch.Generator, preferred: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What `draw` shows, as numbers on the CPU.

        Returns:
            Classes (T, W); rows of the store's images (T, W S + W Q), the support first; quarter turns of the same
            shape, None where the store has none.

        Raises:
            ValueError: There is no task to draw, or the generator is not on the CPU.
        """
        if tasks < 1:
            raise ValueError(f"at least 1 task must be drawn, got {tasks}")
        if generator.device.type != "cpu":
            raise ValueError(f"the generator must be on the CPU, got one on {generator.device}")
        late = None
        if preferred is not None:
            late = torch.ones(self.store.num_classes).index_fill_(0, preferred, 0.0)
        classes = _first_of_shuffled(self.way, (tasks, self.store.num_classes), generator, late=late)
        num = self._starts.shape[0] - 1
        parents = classes % num
        sizes = None if self._equal else self._sizes[classes].unsqueeze(-1)
        shape = (tasks, self.way, self._largest)
        chosen = _first_of_shuffled(self.shot + self.query, shape, generator, sizes)
        rows = self._by_part(chosen + self._starts[parents].unsqueeze(-1))
        if self.store.rotations == 1:
            return classes, rows, None
        return classes, rows, self._by_part((classes // num).unsqueeze(-1).expand_as(chosen))

    def _by_part(self, values: Tensor) -> Tensor:
        """(T, W, S + Q) to (T, W S + W Q)."""
        return torch.cat([values[..., : self.shot].flatten(1), values[..., self.shot :].flatten(1)], 1)


def _first_of_shuffled(
    number: int,
    shape: tuple[int, ...],
    generator: torch.Generator,
    sizes: Tensor | None = None,
    late: Tensor | None = None,
) -> Tensor:
    """The first entries of random permutations of the last axis, of its first `sizes` (..., 1) places only.

    Places where `late` is 1 come after those where it is 0, and then in random order, too.
    """
    keys = torch.rand(shape, generator=generator)
    if late is not None:
        order = (keys + late).argsort(-1)[..., :number]
        return order.gather(-1, torch.rand(order.shape, generator=generator).argsort(-1))
    if sizes is not None:
        keys = keys.masked_fill(torch.arange(shape[-1]) >= sizes, 2.0)
    return keys.topk(number, largest=False).indices
