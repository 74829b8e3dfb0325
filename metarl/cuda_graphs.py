"""The loss of a batch and its gradient as a CUDA graph: recorded once, replayed for every batch of the same shapes.

The meta-gradient of a few images is thousands of small kernels, and a GPU waits for each of them to be launched. A graph
launches all of them at once, and computes the same numbers.
"""

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl.tasks import weighted

LossOfBatch = Callable[[Mapping[str, Tensor], Any], tuple[Tensor, Mapping[str, Tensor | float]]]
"""`loss(params, batch)` -> a scalar, and metrics."""
MOST_KINDS = 8
"""Kinds of batches that one loss records. Those of yet another are computed as ever."""


class GraphedLoss:
    """A loss that is replayed on a GPU, with the gradient that belongs to it.

    The first batch of a kind (the same structure, shapes and numbers that are no tensors) is computed as ever, the second
    is recorded, all others are replayed. Batches with tensors elsewhere than on the GPU are never recorded. Where
    recording fails, because the loss must wait for the GPU say, a warning tells so and batches of that kind are computed
    as ever.

    Args:
        loss: Pure but for random numbers from torch's own generator of the GPU, and buffers that it changes in place.
    """

    def __init__(self, loss: LossOfBatch):
        self._loss = loss
        self._graphs: dict[Any, _Graph | None] = {}

    def __call__(
        self, params: Mapping[str, Tensor], batch: Any
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Loss and metrics, as the loss itself gives them. Backward through the loss gives its gradient, once.

        Args:
            params: On a GPU. Those that require a gradient get one; where none does, nothing is recorded.
            batch: A pytree of tensors on it.
        """
        kind = _kind(params, batch) if any(each.requires_grad for each in params.values()) else None
        if kind is None or (kind not in self._graphs and len(self._graphs) == MOST_KINDS):
            return self._loss(params, batch)
        if kind not in self._graphs:
            self._graphs[kind] = _Graph(self._loss, params, batch)
        graph = self._graphs[kind]
        try:
            return self._loss(params, batch) if graph is None else graph(params, batch)
        except CannotRecord as error:
            reason = str(error.__cause__).strip().splitlines()[0]
            warnings.warn(f"training goes on without a CUDA graph, more slowly: {reason}", stacklevel=2)
            self._graphs[kind] = None
            return self._loss(params, batch)


class CannotRecord(RuntimeError):
    """A loss does what a CUDA graph cannot hold; the cause says what."""


class _Graph:
    """One recording, with the tensors that it reads and writes."""

    def __init__(self, loss: LossOfBatch, params: Mapping[str, Tensor], batch: Any):
        self._loss, self._stream = loss, torch.cuda.Stream()
        self._batch = pytree.tree_map(lambda each: each.clone() if isinstance(each, Tensor) else each, batch)
        self._names = [name for name, each in params.items() if each.requires_grad]
        self._warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, params: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, dict[str, Tensor | float]]:
        for mine, new in zip(*map(pytree.tree_leaves, (self._batch, batch)), strict=True):
            if isinstance(mine, Tensor):
                mine.copy_(new)
        if self._warm:
            if self._graph is None:
                self._graph = self._recorded(params)
            self._graph.replay()
        else:  # what libraries set up at a first call must be no part of the recording
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._results = self._compute(params)
            torch.cuda.current_stream().wait_stream(self._stream)
            self._warm = True
        value, metrics, gradients = self._results
        rows = tuple(each.unsqueeze(0) for each in gradients)
        value = weighted(value.unsqueeze(0), rows, [params[name] for name in self._names])
        copies = {name: each.clone() if isinstance(each, Tensor) else each for name, each in metrics.items()}
        return value.squeeze(0), copies

    def _recorded(self, params: Mapping[str, Tensor]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream), _no_garbage_collected():
                self._results = self._compute(params)
        except RuntimeError as error:
            raise CannotRecord from error
        return graph

    def _compute(self, params: Mapping[str, Tensor]):
        """Loss, metrics and gradients of the batch that is held."""
        # Leaves of this stream: a gradient of the parameters themselves may have to wait for another one.
        leaves = {name: params[name].detach().requires_grad_() for name in self._names}
        value, metrics = self._loss({**params, **leaves}, self._batch)
        gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        detached = {
            name: each.detach() if isinstance(each, Tensor) else each for name, each in metrics.items()
        }
        return value.detach(), detached, gradients


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """To free an older graph in the midst of a recording would break the recording off."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _kind(params: Mapping[str, Tensor], batch: Any) -> Any:
    """What must be equal for a recording to hold; None for a batch that is not all on a GPU."""
    leaves, spec = pytree.tree_flatten(batch)
    if any(isinstance(each, Tensor) and not each.is_cuda for each in leaves):
        return None
    shapes = [(tuple(each.shape), each.dtype) if isinstance(each, Tensor) else each for each in leaves]
    return str(spec), tuple(shapes), tuple(each.data_ptr() for each in params.values())
