"""Gradients of a loss over all ranks, checked before anyone uses them; and conjugate gradient."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarl import distributed


class NonFinite(ArithmeticError):
    """A number that must be finite is not; `quantity` says which. No step was taken with it."""

    def __init__(self, quantity: str):
        super().__init__(f"{quantity} is not finite")
        self.quantity = quantity


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], target: Tensor, steps: int, *, tolerance: float = 1e-10
) -> Tensor:
    """Solve `A x = target` for a symmetric positive definite A that is known only by its products.

    Hestenes & Stiefel (1952). Exact after as many steps as `target` has entries, up to rounding.

    Args:
        product: Maps a vector v to A v, shape (n,).
        target: Shape (n,).
        steps: At most this many products.
        tolerance: Stops once the squared norm of what is left falls below this part of the target's.

    Returns:
        The approximate x, shape (n,).
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    search = target.clone()
    left = residual @ residual
    enough = float(left) * tolerance
    for _ in range(steps):
        if float(left) <= enough:
            break
        image = product(search)
        curvature = search @ image
        if not float(curvature) > 0:  # not positive definite along here: keep what was found
            break
        step = left / curvature
        solution = solution + step * search
        residual = residual - step * image
        left, before = residual @ residual, left
        search = residual + left / before * search
    return solution


def to_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as plain numbers, with a single wait for the device; `stop` is not a metric and left out."""
    kept = {name: value for name, value in metrics.items() if name != "stop"}
    tensors = {name: value for name, value in kept.items() if isinstance(value, Tensor)}
    values: list[float] = []
    if tensors:
        values = torch.stack([value.detach().double().reshape(()) for value in tensors.values()]).tolist()
    moved = dict(zip(tensors, values, strict=True))
    return {name: moved[name] if name in moved else float(value) for name, value in kept.items()}


def trainable(parameters: Mapping[str, Tensor] | Iterable[Tensor]) -> dict[str, Tensor]:
    """The parameters that may change, by name (by number if they have no names).

    Raises:
        ValueError: there is none.
    """
    if not isinstance(parameters, Mapping):
        parameters = {str(index): each for index, each in enumerate(parameters)}
    found = {name: each for name, each in parameters.items() if each.requires_grad}
    if not found:
        raise ValueError(f"none of the {len(parameters)} parameters given is to be trained (requires_grad)")
    return found


def checked_mean(value: Tensor, what: str) -> float:
    """A scalar's mean over ranks, made sure to be finite on all of them."""
    if value.numel() != 1:
        raise ValueError(f"the {what} has shape {tuple(value.shape)}, expected a scalar: its mean over tasks")
    mean = float(distributed.mean_(value.detach().double().clone()))
    if not math.isfinite(mean):
        raise NonFinite(what)
    return mean


def gradient(
    value: Tensor, parameters: Mapping[str, Tensor], *, keep_graph: bool = False
) -> dict[str, Tensor]:
    """The gradient of a scalar by each parameter, averaged over ranks; zero for one it does not use."""
    if not value.requires_grad:
        raise ValueError("the loss depends on no parameter; was it computed under torch.no_grad or detached?")
    found = torch.autograd.grad(
        value, list(parameters.values()), retain_graph=keep_graph, materialize_grads=True
    )
    gradients = dict(zip(parameters, found, strict=True))
    if distributed.world_size() > 1:  # autograd may hand out views of one another: no place to write to
        gradients = {name: each.clone() for name, each in gradients.items()}
        distributed.mean_gradients_(gradients.values())
    return gradients


def norm_of(tensors: Iterable[Tensor]) -> float:
    """The Euclidean norm over all tensors, by one question to the device."""
    norms = torch._foreach_norm(list(tensors))
    return float(torch.linalg.vector_norm(torch.stack([each.double() for each in norms])))


def checked_norm(gradients: Mapping[str, Tensor]) -> float:
    """The Euclidean norm over all gradients, made sure to be finite."""
    norm = norm_of(gradients.values())
    if not math.isfinite(norm):
        bad = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        raise NonFinite(f"gradient of {', '.join(bad)}" if bad else "norm of the gradient")
    return norm


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All entries of some tensors in one vector."""
    return torch.cat([each.reshape(-1) for each in tensors])
