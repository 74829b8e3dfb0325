"""What torch.func transforms ask of modules: which are at work, which layers they get wrong, and threads."""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from metarl.names import unknown


def inside_transform() -> bool:
    """Whether any torch.func transform (grad, vmap, ...) is active in this thread."""
    return torch._C._functorch.get_interpreter_stack() is not None


def inside_vmap() -> bool:
    """Whether a vmap is among the active transforms."""
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(each.key() == torch._C._functorch.TransformType.Vmap for each in stack)


def joined(x: Tensor) -> Tensor:
    """Images (T, N, C, ...) of T tasks as (N, T C, ...): their channels side by side, for one call on all."""
    return x.movedim(0, 1).flatten(1, 2)


def parted(x: Tensor, tasks: int) -> Tensor:
    """The inverse of `joined`."""
    return x.unflatten(1, (tasks, -1)).movedim(1, 0)


def tasks_first(info, in_dims, *tensors: Tensor) -> list[Tensor]:
    """Tensors (T, ...) of T tasks, in a vmap rule; what all tasks share is repeated, without a copy."""
    return [
        each.expand(info.batch_size, *each.shape) if axis is None else each.movedim(axis, 0)
        for each, axis in zip(tensors, in_dims, strict=False)
    ]


def _replacement(module: nn.Module) -> str | None:
    """What to use instead of a norm whose batched second derivative is wrong; None for every other module."""
    if isinstance(module, _InstanceNorm):
        return "metarl.nn.GroupNorm(channels, channels)"
    if isinstance(module, _BatchNorm):
        by_batch = module.training or module.running_mean is None
        return "metarl.nn.BatchNorm" if by_batch else None
    return "metarl.nn.LayerNorm" if isinstance(module, nn.LayerNorm) else None


def _refuse(module: nn.Module, name: str) -> None:
    replacement = _replacement(module)
    if replacement:
        raise ValueError(
            f"'{name}' is a {type(module).__name__}, whose second derivatives are wrong under vmap: "
            f'use {replacement}, or first_order=True, or over_tasks(..., how="loop")'
        )


def refuse_fused_norms(module: nn.Module) -> None:
    """Refuse a module whose exact meta-gradient would be wrong under vmap.

    The batching rules of PyTorch's fused batch, instance and layer norms use saved statistics that carry no
    history (pytorch/functorch#534). Batch norm in evaluation mode uses none and is let through.

    Raises:
        ValueError: It names the layer and what to use instead.
    """
    for name, each in module.named_modules():
        _refuse(each, name or type(each).__name__)


@contextmanager
def fused_norms_refused(active: bool = True) -> Iterator[None]:
    """While it lasts, calling a module that `refuse_fused_norms` would refuse raises its ValueError."""
    if not active:
        yield
        return
    handle = register_module_forward_pre_hook(lambda module, _: _refuse(module, type(module).__name__))
    try:
        yield
    finally:
        handle.remove()


_calls = threading.local()


def in_stateless_call() -> int:
    """How many calls of functions made by `stateless` this thread is inside of."""
    return getattr(_calls, "depth", 0)


def _slots(module: nn.Module) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Where each parameter and buffer is held, by its full name; a tied one in several places."""
    first: dict[int, str] = {}
    slots: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for prefix, each in module.named_modules():
        for holder in (each._parameters, each._buffers):
            for key, value in holder.items():
                if value is not None:
                    name = first.setdefault(id(value), f"{prefix}.{key}" if prefix else key)
                    slots.setdefault(name, []).append((holder, key))
    return slots


def stateless(module: nn.Module, prefix: str = "") -> Callable[..., Any]:
    """A module as a function of its params that several threads may call at once.

    `torch.func.functional_call` puts the params into the module for the time of the call, so two threads
    must not share one; here every thread gets a copy of the module's structure (parameters and buffers are
    shared, not copied).

    Args:
        module: Any module that does not write to itself in `forward`, already on its device: a copy is made
            at a thread's first call, and of later changes only new values of its tensors and train() or
            eval() are seen.
        prefix: What its names start with in the params, for example "policy."; others are then left alone.

    Returns:
        `f(params, *args, **kwargs)`, the module's output; tensors that the params do not name are the
        module's own, and `rule.*` is ignored. It raises ValueError for a name that the module does not have.
    """
    local = threading.local()
    known = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}

    def call(params: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        if not hasattr(local, "replica"):
            shared = (*module.parameters(), *module.buffers())
            local.replica = copy.deepcopy(module, {id(each): each for each in shared})
            local.slots = _slots(local.replica)
        if local.replica.training != module.training:
            local.replica.train(module.training)
        swapped = []
        _calls.depth = in_stateless_call() + 1
        try:
            for name, value in params.items():
                if not name.startswith(prefix) or name.startswith("rule."):
                    continue
                for holder, key in local.slots.get(name.removeprefix(prefix), ()):
                    swapped.append((holder, key, holder[key]))
                    holder[key] = value
                if name.removeprefix(prefix) not in local.slots:
                    raise unknown(f"parameter of {type(module).__name__}", name.removeprefix(prefix), known)
            return local.replica(*args, **kwargs)
        finally:
            _calls.depth -= 1
            for holder, key, value in reversed(swapped):
                holder[key] = value

    return call
