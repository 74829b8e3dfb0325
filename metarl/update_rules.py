"""Update rules: what one inner step does with a gradient.

A rule is a frozen description. What it learns, if anything, lies in the params dict under names that start
with `rule.`, so learned step sizes are meta-parameters like any other: saved, averaged over ranks and given a
gradient with the rest. Rules that precondition are in `metarl.preconditioners`, that which is a network itself in
`metarl.learned_optimizers`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from metarl.names import matching

Params = dict[str, Tensor]
ClipBy = Literal["value", "norm"]
Adapted = str | Collection[str]

RULE_PREFIX = "rule."
"""Names that start so belong to the update rule and are never adapted."""
STATE_PREFIX = "rule.state."
"""Names that start so are what a rule remembers from one step to the next; step 0 starts without. What
`AdamWithoutMomentum` remembers stays from one inner loop to the next, and so has names of its own."""


class UpdateRule(Protocol):
    """What the inner loop asks of a rule."""

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """New meta-parameters of the rule, named `rule.*`; merge them into the params."""
        ...

    def update(
        self, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], step: int, loss: Tensor | None = None
    ) -> Params:
        """The adapted tensors after one step: the names in `grads`, and `rule.*` for what a rule remembers.

        Args:
            params: Adapted so far, with the rule's meta-parameters and what it returned at the step before.
            grads: Gradients of the inner loss.
            step: Index of the step, from 0.
            loss: The inner loss before the step, a scalar, for rules that look at it.
        """
        ...


def adapted_names(params: Mapping[str, Tensor], adapted: str | Collection[str] = "all") -> tuple[str, ...]:
    """The names that the inner loop may change.

    Args:
        params: Any dict of tensors.
        adapted: "all" (every floating-point tensor), or name patterns as the shell has them:
            `("context.*",)`.

    Returns:
        Names in the order of `params`. Those that start with `rule.` are never among them.

    Raises:
        ValueError: A pattern matches nothing, or there is nothing to adapt.
    """
    own = [name for name, value in params.items() if not name.startswith(RULE_PREFIX)]
    if adapted == "all":
        names = tuple(name for name in own if params[name].is_floating_point())
        if not names:
            raise ValueError(
                f"there is nothing to adapt: got params {list(params)}, expected floating-point tensors"
            )
        return names
    patterns = (adapted,) if isinstance(adapted, str) else tuple(adapted)
    if not patterns:
        raise ValueError('adapted is empty: give "all" or name patterns such as ("policy.*",)')
    names = matching(own, patterns, "adapted pattern")
    whole = [name for name in names if not params[name].is_floating_point()]
    if whole:
        raise ValueError(f"only floating-point tensors can be adapted: {whole} hold {params[whole[0]].dtype}")
    return names


def register(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make tensors parameters of a module under their dotted names, such as what `UpdateRule.init` gave.

    Args:
        module: Gets a submodule for each part of a name before the last.
        tensors: Their values are copied.
    """
    for name, value in tensors.items():
        *path, last = name.split(".")
        holder = module
        for part in path:
            if part not in dict(holder.named_children()):
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        holder.register_parameter(last, nn.Parameter(value.detach().clone()))


def clip_gradients(grads: Mapping[str, Tensor], limit: float | None, by: ClipBy = "norm") -> Params:
    """Bound the gradients of one task, differentiably.

    Args:
        grads: Gradients of one task (vmap for several: the norm is taken over everything that is passed).
        limit: The bound, above 0; None leaves the gradients as they are.
        by: "value" clamps each entry to [-limit, limit]; "norm" scales all of them so that their joint
            Euclidean norm is at most `limit`.
    """
    if limit is None:
        return dict(grads)
    if by == "value":
        return {name: grad.clamp(-limit, limit) for name, grad in grads.items()}
    total = torch.stack([grad.square().sum() for grad in grads.values()]).sum()
    # Clamping the square, not the norm, keeps the derivative finite where every gradient is zero.
    scale = limit * total.clamp(min=limit**2).rsqrt()
    return {name: grad * scale for name, grad in grads.items()}


def _check(lr: float, lr_for: Mapping[str, float], clip: float | None, clip_by: str) -> None:
    if not lr > 0:
        raise ValueError(f"lr must be above 0, got {lr}")
    for pattern, size in lr_for.items():
        if not size > 0:
            raise ValueError(f"lr_for must be above 0, got {size} for '{pattern}'")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, or None for no clipping, got {clip}")
    if clip_by not in ("value", "norm"):
        raise ValueError(f"clip_by must be 'value' or 'norm', got {clip_by!r}")


@dataclass(frozen=True)
class SGD:
    """Gradient descent with fixed step sizes (MAML, Finn et al. 2017, equation 1)."""

    lr: float = 0.1
    """Step size, above 0."""
    clip: float | None = None
    """Bound on each step's gradient, above 0; None: no bound."""
    clip_by: ClipBy = "norm"
    """Bound each entry ("value") or the joint norm of the adapted tensors ("norm")."""
    lr_for: Mapping[str, float] = field(default_factory=dict)
    """Step sizes, above 0, of tensors by name pattern (as in `adapted`); the first that fits counts, else `lr`."""

    def __post_init__(self):
        _check(self.lr, self.lr_for, self.clip, self.clip_by)

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """Nothing: this rule learns nothing. The arguments are checked all the same."""
        matching(adapted_names(params, adapted), self.lr_for, "lr_for")
        _check_steps(steps)
        return {}

    def step(self, name: str, value: Tensor, grad: Tensor, params: Mapping[str, Tensor], step: int) -> Tensor:
        """One tensor after one step; gradients are taken as they are (`update` clips)."""
        return torch.sub(value, grad, alpha=first_lr(name, self.lr, self.lr_for))

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step."""
        grads = clip_gradients(grads, self.clip, self.clip_by)
        return {name: self.step(name, params[name], grad, params, step) for name, grad in grads.items()}


@dataclass(frozen=True)
class LearnedSGD:
    """Gradient descent whose step sizes are meta-parameters.

    | per | meta-parameters | shape | known as |
    |---|---|---|---|
    | "step" | `rule.lr` | (steps,) | |
    | "tensor" | `rule.lr.<name>` | (steps,) | rates per layer and step (MAML++, Antoniou et al. 2019) |
    | "parameter" | `rule.lr.<name>` | (steps, *shape) | shared over steps: Meta-SGD (Li et al. 2017) |

    A step beyond the trained ones uses the last one's size. Nothing keeps a size above 0: Meta-SGD wants it
    so.
    """

    lr: float = 0.1
    """Where every step size starts, above 0."""
    per: Literal["step", "tensor", "parameter"] = "tensor"
    """What has a step size of its own."""
    shared_over_steps: bool = False
    """One size for all steps (the leading axis is then 1) instead of one for each."""
    clip: float | None = None
    """Bound on each step's gradient, above 0; None: no bound."""
    clip_by: ClipBy = "norm"
    """Bound each entry ("value") or the joint norm of the adapted tensors ("norm")."""
    lr_for: Mapping[str, float] = field(default_factory=dict)
    """Where the step sizes of tensors start that fit a name pattern, above 0; as in `SGD`. Not with one size for all."""

    def __post_init__(self):
        _check(self.lr, self.lr_for, self.clip, self.clip_by)
        if self.per not in ("step", "tensor", "parameter"):
            raise ValueError(f"per must be 'step', 'tensor' or 'parameter', got {self.per!r}")
        if self.per == "step" and self.lr_for:
            raise ValueError("lr_for needs per='tensor' or 'parameter': by 'step' all tensors share one size")

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """The step sizes to merge into the params, as `lr` and `lr_for` say, requiring a gradient."""
        _check_steps(steps)
        names = adapted_names(params, adapted)
        matching(names, self.lr_for, "lr_for")
        rows = 1 if self.shared_over_steps else steps

        def filled(name: str) -> Tensor:
            shape = params[name].shape if self.per == "parameter" else ()
            first = first_lr(name, self.lr, self.lr_for)
            return params[name].new_full((rows, *shape), first, requires_grad=True)

        if self.per == "step":
            return {f"{RULE_PREFIX}lr": filled(names[0])}
        return {f"{RULE_PREFIX}lr.{name}": filled(name) for name in names}

    def step(self, name: str, value: Tensor, grad: Tensor, params: Mapping[str, Tensor], step: int) -> Tensor:
        """One tensor after one step; gradients are taken as they are (`update` clips)."""
        sizes = looked_up(params, f"{RULE_PREFIX}lr" if self.per == "step" else f"{RULE_PREFIX}lr.{name}")
        return value - sizes[min(step, sizes.shape[0] - 1)] * grad

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step."""
        grads = clip_gradients(grads, self.clip, self.clip_by)
        return {name: self.step(name, params[name], grad, params, step) for name, grad in grads.items()}


@dataclass(frozen=True)
class AdamWithoutMomentum:
    """Adam with beta1 = 0 (Kingma and Ba 2015), the inner optimiser of Reptile (Nichol et al. 2018).

    What it remembers lies in the params: `rule.square.<name>`, the averages of squared gradients, and `rule.steps`, how
    many there were; they start at zero where the params have none. Meant for inner loops without second derivatives:
    that of the root is infinite where a gradient was always zero.
    """

    lr: float = 1e-3
    """Step size, above 0."""
    beta: float = 0.999
    """How much of an average stays at every step, in [0, 1)."""
    eps: float = 1e-8
    """Added to the root."""

    def __post_init__(self):
        _check(self.lr, {}, None, "norm")
        if not 0 <= self.beta < 1 or not self.eps > 0:
            raise ValueError(f"beta must be in [0, 1) and eps above 0, got {self.beta} and {self.eps}")

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """Nothing: this rule learns nothing. The arguments are checked all the same."""
        return SGD(self.lr).init(params, steps, adapted)

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step, and the averages."""
        some = next(iter(grads.values()))
        done = params.get(f"{RULE_PREFIX}steps", some.new_zeros(())) + 1
        correction = 1 - self.beta**done
        after = {f"{RULE_PREFIX}steps": done}
        for name, grad in grads.items():
            key = f"{RULE_PREFIX}square.{name}"
            square = (1 - self.beta) * grad.square()
            if key in params:
                square = square + self.beta * params[key]
            after[key] = square
            after[name] = params[name] - self.lr * grad / ((square / correction).sqrt() + self.eps)
        return after


def looked_up(params: Mapping[str, Tensor], key: str) -> Tensor:
    """A rule's meta-parameter.

    Raises:
        ValueError: The params have none of that name.
    """
    if key not in params:
        raise ValueError(
            f"params hold no '{key}': merge rule.init(params, steps, adapted) into them, same adapted set"
        )
    return params[key]


def first_lr(name: str, lr: float, lr_for: Mapping[str, float]) -> float:
    """The step size of a tensor, or where it starts.

    Args:
        name: The tensor's.
        lr: If no pattern fits.
        lr_for: By name pattern; the first that fits counts.
    """
    return next((size for pattern, size in lr_for.items() if fnmatchcase(name, pattern)), lr)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
