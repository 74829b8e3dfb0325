"""Inner loops: from params to adapted params on one task's support data.

Everything here is written for one task. For many, see `metarl.tasks.over_tasks`, or `torch.vmap` where more
than one derivative of the whole is wanted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl.transforms import fused_norms_refused, inside_transform, inside_vmap
from metarl.update_rules import Params, UpdateRule, adapted_names

Loss = Callable[[Params, Any], Tensor]
"""`loss(params, data)` of one task, a scalar."""


def adapt_step(
    params: Mapping[str, Tensor],
    loss: Loss,
    data: Any,
    *,
    rule: UpdateRule,
    step: int = 0,
    adapted: str | Collection[str] = "all",
    first_order: bool = False,
) -> tuple[Params, Tensor]:
    """One inner step on one task.

    Works alike in plain code (any derivative by `backward` or `torch.autograd.grad`) and under `torch.func`
    transforms. Under `torch.no_grad` it adapts without keeping a graph.

    Args:
        params: Any dict of tensors; with a rule that learns, its `rule.*` entries too.
        loss: Inner loss, `loss(params, data)`, a scalar.
        data: Support data, passed to the loss as it is.
        rule: What to do with the gradient.
        step: Index of this step, from 0; rules with step sizes per step look it up.
        adapted: "all" or name patterns: which params may change.
        first_order: Treat the inner gradient as a constant (Finn et al. 2017, section 5.2). The returned loss
            then carries no gradient either.

    Returns:
        A full dict (entries that are not adapted are passed through), and the inner loss before the step.

    Raises:
        ValueError: A pattern matches nothing; the loss is no scalar or does not depend on what is adapted; an
            exact inner loop under vmap meets a fused norm (its second derivatives would be wrong); or inference mode is
            on.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "an inner step needs a gradient, which torch.inference_mode forbids: use torch.no_grad instead"
        )
    names = adapted_names(params, adapted)
    exact = torch.is_grad_enabled() and not first_order
    with fused_norms_refused(exact and inside_vmap()):
        if inside_transform() or (exact and not _any_requires_grad(params, data)):
            grads, value = _by_transform(params, names, loss, data, exact)
        else:
            grads, value = _by_autograd(params, names, loss, data, exact)
    return {**params, **rule.update(params, grads, step, value)}, value


def adapt(
    params: Mapping[str, Tensor],
    loss: Loss,
    support: Any,
    *,
    rule: UpdateRule,
    steps: int = 1,
    adapted: str | Collection[str] = "all",
    first_order: bool = False,
) -> Params:
    """Several inner steps on the same support data; arguments as in `adapt_step`.

    Returns:
        A full dict, from which every derivative leads back to `params` (unless `first_order`).

    Raises:
        ValueError: As in `adapt_step`, or `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    adapted_names(params, adapted)
    fast, batches = dict(params), repeat(support, steps)
    for after in inner_steps(params, loss, batches, rule=rule, adapted=adapted, first_order=first_order):
        fast = after
    return fast


def inner_steps(
    params: Mapping[str, Tensor],
    loss: Loss,
    batches: Iterable[Any],
    *,
    rule: UpdateRule,
    adapted: str | Collection[str] = "all",
    first_order: bool = False,
) -> Iterator[Params]:
    """The params after each of several inner steps, every one on data of its own; arguments as in `adapt_step`.

    Args:
        params: As in `adapt_step`.
        loss: As in `adapt_step`.
        batches: The data of each step: minibatches of the support, say, or the support with the number of the step.
        rule: As in `adapt_step`.
        adapted: As in `adapt_step`.
        first_order: As in `adapt_step`.

    Yields:
        A full dict after every step.
    """
    fast = dict(params)
    for step, data in enumerate(batches):
        fast, _ = adapt_step(fast, loss, data, rule=rule, step=step, adapted=adapted, first_order=first_order)
        yield fast


def _by_autograd(
    params: Mapping[str, Tensor], names: tuple[str, ...], loss: Loss, data: Any, exact: bool
) -> tuple[Params, Tensor]:
    """Gradients by the ordinary engine: in plain code it costs less than a transform."""
    with torch.enable_grad():
        if exact:
            inner = dict(params)
            leaves = {n: p if (p := params[n]).requires_grad else p.detach().requires_grad_() for n in names}
        else:
            inner = {n: p.detach() for n, p in params.items()}
            leaves = {n: inner[n].requires_grad_() for n in names}
        value = _scalar(loss({**inner, **leaves}, data))
        if not value.requires_grad:
            raise ValueError(_independent(names))
        grads = torch.autograd.grad(value, list(leaves.values()), create_graph=exact, allow_unused=True)
    if all(grad is None for grad in grads):
        raise ValueError(_independent(names))
    zero_filled = (torch.zeros_like(params[n]) if g is None else g for n, g in zip(names, grads, strict=True))
    return dict(zip(names, zero_filled, strict=True)), value if exact else value.detach()


def _by_transform(
    params: Mapping[str, Tensor], names: tuple[str, ...], loss: Loss, data: Any, exact: bool
) -> tuple[Params, Tensor]:
    """Gradients by torch.func: the only way under vmap; leaves no graph where nothing outside wants one."""

    def of(leaves: Params) -> Tensor:
        return _scalar(loss({**params, **leaves}, data))

    leaves = {name: params[name] for name in names}
    grads, value = torch.func.grad_and_value(of)(leaves)
    if not exact:
        return {name: grad.detach() for name, grad in grads.items()}, value.detach()
    return grads, value


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"the inner loss must be a scalar tensor, got {got}: take its mean, for one task at a time"
        )
    return value


def _independent(names: tuple[str, ...]) -> str:
    return f"the inner loss does not depend on any adapted parameter: adapted are {list(names)}"


def _any_requires_grad(params: Mapping[str, Tensor], data: Any) -> bool:
    if any(value.requires_grad for value in params.values()):
        return True
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(data))
