"""One function over many tasks: vmap, chunks of vmap, a loop, or threads, whichever is fastest here.

Every way gives the same numbers. When a gradient is wanted, that of each task (or chunk) is computed at once
and kept, and its graph is freed: memory is bounded by one chunk plus one gradient per task, threads can work
side by side, and any weighting of the losses still has its exact gradient.

Legend: T tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl.threads import in_threads
from metarl.transforms import inside_transform

Params = Mapping[str, Tensor]
Task = Callable[[Params, Any], Any]
How = Literal["auto", "vmap", "loop", "threads"]


def over_tasks(task: Task, *, how: How = "auto", chunk: int | None = None) -> Callable[[Params, Any], Any]:
    """A function of one task, over many.

    Args:
        task: `task(params, one_task)` returns a scalar loss, or `(loss, aux)` with any pytree of tensors.
            Noise that should not depend on `how` is best drawn outside and passed in with the task.
        how: "vmap" (batched; needs a task that torch.func can batch), "loop" (one after the other), "threads"
            (the loop's work shared out over `torch.get_num_threads()` Python threads of one intra-op thread
            each; modules through `metarl.nn.stateless`), or "auto": see `choose`.
        chunk: At most so many tasks in memory at once; None: all of them for vmap, one per thread for
            threads.

    Returns:
        `f(params, tasks)`, where `tasks` is a pytree whose tensors have a leading axis T (leaves that are no
        tensors are the same for every task). It returns losses of shape (T,), or `(losses, aux)` with aux
        stacked and detached. Backward through the losses gives the exact gradient of the params, once: for a
        second derivative of the whole use `torch.vmap(task, (None, 0))`.

    Raises:
        ValueError: Here for an unknown `how` or a `chunk` below 1. From `f` for tasks of unequal leading axes
            or none, for a loss that is no scalar, for data that requires a gradient (only params get one),
            and for "threads" where the task swaps params into a module that other threads use.
    """
    if how not in ("auto", "vmap", "loop", "threads"):
        raise ValueError(f"how must be 'auto', 'vmap', 'loop' or 'threads', got {how!r}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, or None, got {chunk}")

    def run(params: Params, tasks: Any) -> Any:
        many = _Tasks.of(tasks)
        way = choose(params, tasks) if how == "auto" else how
        if inside_transform():  # the transform differentiates, and threads would not see it
            way = "vmap" if way == "vmap" else "loop"
        go = partial(_run, task, way, chunk, many, strict=how == "threads")
        wanted = [name for name, value in params.items() if value.requires_grad]
        if inside_transform() or not wanted or not torch.is_grad_enabled():
            losses, aux, _ = go(params, ())
        else:
            many.refuse_gradients()
            losses, aux, grads = go({name: value.detach() for name, value in params.items()}, tuple(wanted))
            losses = weighted(losses, tuple(grads.values()), [params[name] for name in wanted])
        return (losses, aux[0]) if aux else losses

    return run


SMALL = 1_000_000
"""Multiply-adds of a task's forward pass below which a CPU mostly launches operations."""


def choose(params: Params, tasks: Any) -> str:
    """What "auto" means for these params and tasks: "vmap", "threads" or "loop".

    On a GPU vmap, which launches less. On a CPU vmap for small perceptrons, for the same reason; where one
    task is work enough, or has convolutions (grouped ones under vmap, slow there), threads, or a loop where
    torch has one thread only. Where a task swaps params into a shared module, which threads cannot do, it
    loops.
    """
    weights = {name: value for name, value in params.items() if not name.startswith("rule.")}
    if any(value.device.type != "cpu" for value in weights.values()):
        return "vmap"
    leaves = [leaf for leaf in pytree.tree_leaves(tasks) if isinstance(leaf, Tensor)]
    rows = max(leaf[0].numel() // (leaf.shape[-1] if leaf.dim() > 2 else 1) for leaf in leaves)
    work = rows * sum(value.numel() for value in weights.values() if value.dim() > 1)
    if work < SMALL and not any(value.dim() > 2 for value in weights.values()):
        return "vmap"
    return "threads" if torch.get_num_threads() > 1 else "loop"


@dataclass(frozen=True)
class _Tasks:
    """The leaves of a pytree of tasks, and how to put one task together again."""

    leaves: list[Any]
    spec: Any
    number: int

    @classmethod
    def of(cls, tasks: Any) -> "_Tasks":
        leaves, spec = pytree.tree_flatten(tasks)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not tensors:
            kinds = sorted({type(leaf).__name__ for leaf in leaves})
            raise ValueError(
                f"tasks hold no tensor, only {kinds}: give a tuple, dict or NamedTuple of tensors, or "
                "register the class with torch.export.register_dataclass"
            )
        sizes = {tuple(leaf.shape[:1]) for leaf in tensors}
        if len(sizes) > 1 or () in sizes:
            shapes = [tuple(leaf.shape) for leaf in tensors]
            raise ValueError(f"tensors of the tasks need the same leading axis, a row per task: got {shapes}")
        number = tensors[0].shape[0]
        if number == 0:
            raise ValueError("there are no tasks: the leading axis has length 0")
        return cls(leaves, spec, number)

    def one(self, i: int) -> Any:
        return self.with_leaves([leaf[i] if isinstance(leaf, Tensor) else leaf for leaf in self.leaves])

    def with_leaves(self, leaves: list[Any]) -> Any:
        return pytree.tree_unflatten(leaves, self.spec)

    def refuse_gradients(self) -> None:
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in self.leaves):
            raise ValueError("tasks hold a tensor that requires a gradient, but only params get one")


def _run(
    task: Task,
    way: str,
    chunk: int | None,
    many: _Tasks,
    params: Params,
    wanted: tuple[str, ...],
    *,
    strict: bool,
) -> tuple[Tensor, tuple, dict[str, Tensor]]:
    """Losses (T,), aux (stacked, in a tuple, empty where there is none), gradients {name: (T, ...)}."""
    if way == "vmap":
        return _batched(task, chunk, many, params, wanted)
    ones = (partial(many.one, i) for i in range(many.number))
    calls = [partial(_one_by_autograd, task, params, wanted, one) for one in ones]
    if way == "threads":
        workers = min(torch.get_num_threads(), many.number, chunk or many.number)
        results = in_threads(calls, workers, task, strict=strict)
    else:
        results = [call() for call in calls]
    return _joined(torch.stack, results)


def _batched(task: Task, chunk: int | None, many: _Tasks, params: Params, wanted: tuple[str, ...]):
    dims = tuple(0 if isinstance(leaf, Tensor) else None for leaf in many.leaves)

    def one(params: Params, *leaves: Any):
        return _one_by_transform(task, params, wanted, many.with_leaves(list(leaves)))

    batch = torch.vmap(one, (None, *dims), randomness="different")
    size = chunk or many.number
    pieces = []
    for start in range(0, many.number, size):
        part = [leaf[start : start + size] if isinstance(leaf, Tensor) else leaf for leaf in many.leaves]
        pieces.append(batch(dict(params), *part))
    return pieces[0] if len(pieces) == 1 else _joined(torch.cat, pieces)


def _one_by_autograd(task: Task, params: Params, wanted: tuple[str, ...], one: Callable[[], Any]):
    """Loss, aux and gradients of one task by the ordinary engine."""
    if not wanted:
        return (*_outputs(task(params, one())), {})
    leaves = {name: params[name].detach().requires_grad_() for name in wanted}
    loss, aux = _outputs(task({**params, **leaves}, one()))
    grads: tuple[Tensor | None, ...] = (None,) * len(wanted)
    if loss.requires_grad:
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    filled = (torch.zeros_like(v) if g is None else g for v, g in zip(leaves.values(), grads, strict=True))
    return loss.detach(), pytree.tree_map(torch.detach, aux), dict(zip(wanted, filled, strict=True))


def _one_by_transform(task: Task, params: Params, wanted: tuple[str, ...], one: Any):
    """Loss, aux and gradients of one task by torch.func, to be vmapped."""
    if not wanted:
        return (*_outputs(task(params, one)), {})

    def of(leaves: dict[str, Tensor]):
        loss, aux = _outputs(task({**params, **leaves}, one))
        return loss, aux

    grads, (loss, aux) = torch.func.grad_and_value(of, has_aux=True)({name: params[name] for name in wanted})
    return loss, aux, grads


def _outputs(output: Any) -> tuple[Tensor, tuple]:
    loss, aux = (output[0], output[1:]) if isinstance(output, tuple) else (output, ())
    if not isinstance(loss, Tensor) or loss.dim() != 0 or len(aux) > 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"a task must return a scalar loss or (loss, aux), got {got} and {len(aux)} more")
    strange = {type(leaf).__name__ for leaf in pytree.tree_leaves(aux) if not isinstance(leaf, Tensor)}
    if strange:
        raise ValueError(f"a task's aux must hold tensors only, to be stacked, got {sorted(strange)}")
    return loss, aux


def _joined(join: Callable[[list[Tensor]], Tensor], results: list[Any]) -> Any:
    columns = zip(*(pytree.tree_leaves(result) for result in results), strict=True)
    spec = pytree.tree_structure(results[0])
    return pytree.tree_unflatten([join(list(column)) for column in columns], spec)


def weighted(losses: Tensor, grads: tuple[Tensor, ...], params: Sequence[Tensor]) -> Tensor:
    """Losses (T,) whose gradients are known already, (T, ...) for each of the params: backward weights and sums them."""
    return _Weighted.apply(losses, grads, *params)


class _Weighted(torch.autograd.Function):
    """Losses whose gradient, per task, is known already: backward weights and sums it."""

    @staticmethod
    def forward(ctx, losses: Tensor, grads: tuple[Tensor, ...], *params: Tensor) -> Tensor:
        ctx.grads = grads
        return losses.clone()

    @staticmethod
    def backward(ctx, weights: Tensor):
        if torch.is_grad_enabled():
            raise ValueError(
                "over_tasks knows the first derivative only: for more (create_graph=True), differentiate "
                "torch.vmap(task, (None, 0))(params, tasks)"
            )
        return None, None, *(torch.tensordot(weights.to(grad.dtype), grad, dims=1) for grad in ctx.grads)
