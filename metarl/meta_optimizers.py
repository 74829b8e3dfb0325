"""How a meta-gradient becomes a step: gradient descent, or a natural-gradient step in a trust region.

Both are given the meta-parameters once, and then a `loss` to call: it returns a scalar and metrics. On
several ranks what they decide by (gradients, Hessian-vector products, line-search values) is averaged first,
so that all ranks take the same step.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from metarl import distributed
from metarl.gradients import (
    NonFinite,
    checked_mean,
    checked_norm,
    conjugate_gradient,
    flat,
    gradient,
    norm_of,
    to_floats,
    trainable,
)
from metarl.names import unknown

__all__ = ["GradientSteps", "Loss", "NonFinite", "TrustRegion", "annealed", "milestones"]

Loss = Callable[[], tuple[Tensor, Mapping[str, Tensor | float]]]
"""Computes the meta-loss at the current parameters: a scalar, and metrics (numbers or scalar tensors)."""


class GradientSteps:
    """Adam or plain gradient descent, several epochs on one batch.

    Each epoch computes the loss anew at the current parameters. `metrics["stop"]`, if the loss gives it and
    it is true on any rank, ends the epochs before that epoch's step is taken (as early stopping on the KL
    divergence does in PPO).

    A schedule makes the step size a function of the number of steps taken so far, and of nothing else; that number
    is part of the state, so that a resumed training goes on with the step size it would have had.

    Args:
        parameters: Tensors by name, or just tensors. Those with `requires_grad=False` are left alone.
        lr: Step size, the first one where there is a schedule.
        epochs: Steps on one batch.
        kind: `adam` (Kingma & Ba 2015, its defaults) or `sgd`.
        max_grad_norm: Rescale a gradient whose Euclidean norm over all parameters is above this.
        max_grad_value: Cut every entry of a gradient to this range on both sides of zero, before its norm is bounded.
        momentum: Of SGD: this part of the last step's direction is added to the gradient.
        weight_decay: This multiple of the parameters is added to their gradient, after clipping.
        decayed: Names of those it is for; unset, all.
        schedule: From the number of steps taken before to a factor of `lr`; see `milestones`, `annealed`.
        rates: Step sizes of some parameters by name, in place of `lr`.

    Attributes:
        updates: Steps taken so far.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor] | Iterable[Tensor],
        lr: float,
        epochs: int = 1,
        kind: Literal["adam", "sgd"] = "adam",
        max_grad_norm: float | None = None,
        *,
        max_grad_value: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        schedule: Callable[[int], float] | None = None,
        rates: Mapping[str, float] | None = None,
        decayed: Iterable[str] | None = None,
    ):
        if kind not in ("adam", "sgd"):
            raise ValueError(f"kind={kind!r}, expected 'adam' or 'sgd'")
        bounds = [each for each in (max_grad_norm, max_grad_value) if each is not None]
        if not lr > 0 or epochs < 1 or not all(each > 0 for each in bounds):
            raise ValueError(
                f"{lr=}, {epochs=}, {max_grad_norm=}, {max_grad_value=}: expected positive numbers, "
                "epochs at least 1"
            )
        if not 0 <= momentum < 1 or weight_decay < 0 or (momentum and kind == "adam"):
            raise ValueError(
                f"{momentum=}, {weight_decay=} with kind={kind!r}: expected a momentum in [0, 1), which only "
                "'sgd' takes, and a weight decay of at least 0"
            )
        self.parameters = trainable(parameters)
        for name in rates or {}:
            if name not in self.parameters:
                raise unknown("parameter in rates", name, self.parameters)
        self.epochs, self.lr, self.schedule, self.updates = epochs, lr, schedule, 0
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        own = {name: rate / lr for name, rate in (rates or {}).items()}
        chosen = set(self.parameters if decayed is None else decayed)
        kinds: dict[tuple[float, float], list[Tensor]] = {}
        for name, each in self.parameters.items():
            kinds.setdefault((own.get(name, 1.0), weight_decay * (name in chosen)), []).append(each)
        groups = [
            {"params": each, "lr": lr * share, "share": share, "weight_decay": decay}
            for (share, decay), each in kinds.items()
        ]
        self._optimizer: torch.optim.Optimizer
        self._entries = (
            ("step", "exp_avg", "exp_avg_sq") if kind == "adam" else ("momentum_buffer",) * (momentum > 0)
        )
        if kind == "adam":
            self._optimizer = torch.optim.Adam(groups, lr=lr)
        else:
            self._optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum)

    def update(self, loss: Loss) -> dict[str, float]:
        """Take up to `epochs` steps.

        Returns:
            The metrics of the last loss computed, with `loss`, `grad_norm` (before clipping, of the last step
            taken), `epochs` (steps taken), and where there is a schedule `lr` (the step size of the last step).

        Raises:
            NonFinite: the loss or a gradient is infinite or no number; nothing was changed by that epoch.
        """
        steps, norm, rate = 0, float("nan"), {}
        for _ in range(self.epochs):
            value, metrics = loss()
            stop = distributed.any_true(bool(metrics.get("stop", False)), value.device)
            mean = checked_mean(value, "loss")
            if stop:
                break
            gradients = gradient(value, self.parameters)
            norm = checked_norm(gradients)
            rate = self._scheduled()
            self._step(gradients, norm)
            steps += 1
        return to_floats({**metrics, "loss": mean}) | {"grad_norm": norm, "epochs": steps} | rate

    def _scheduled(self) -> dict[str, float]:
        """Set the step size that the schedule gives for the next step."""
        if self.schedule is None:
            return {}
        rate = self.lr * self.schedule(self.updates)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        return {"lr": rate}

    def _step(self, gradients: Mapping[str, Tensor], norm: float) -> None:
        if self.max_grad_value is not None:
            bound = self.max_grad_value
            gradients = {name: each.clamp(-bound, bound) for name, each in gradients.items()}
            norm = norm_of(gradients.values())
        scale = min(1.0, self.max_grad_norm / (norm + 1e-12)) if self.max_grad_norm else 1.0
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name] * scale if scale < 1 else gradients[name]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """What the optimiser remembers: tensors named `parameter/entry`, and `updates` where there is a schedule."""
        state = self._optimizer.state
        counted = {} if self.schedule is None else {"updates": torch.tensor(self.updates)}
        return counted | {
            f"{name}/{entry}": torch.as_tensor(value)
            for name, parameter in self.parameters.items()
            for entry, value in state.get(parameter, {}).items()
            if value is not None
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: it is of other parameters, of other shapes, or of another kind of optimiser; or only one of
                the two has a schedule.
        """
        if ("updates" in tensors) != (self.schedule is not None):
            raise ValueError(
                "the stored optimiser and this one do not both have a schedule of the step size; was the config "
                "changed?"
            )
        self.updates = int(tensors.get("updates", 0))
        state: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key == "updates":
                continue
            name, _, entry = key.rpartition("/")
            if name not in self.parameters:
                raise ValueError(
                    f"optimiser state '{key}' belongs to no parameter here; was the config changed?"
                )
            if entry not in self._entries:
                raise ValueError(
                    f"optimiser state '{key}' is of another kind of optimiser, expected "
                    f"{', '.join(self._entries) or 'none'}; was the config changed?"
                )
            parameter = self.parameters[name]
            shape, where = (torch.Size(), "cpu") if entry == "step" else (parameter.shape, parameter.device)
            if tensor.shape != shape:
                raise ValueError(
                    f"optimiser state '{key}' has shape {tuple(tensor.shape)}, expected {tuple(shape)}"
                )
            state.setdefault(name, {})[entry] = tensor.clone().to(where)
        if state and (missing := [name for name in self.parameters if name not in state]):
            raise ValueError(
                f"the stored optimiser remembers nothing of {', '.join(missing)}; was the config changed?"
            )
        self._optimizer.state.clear()
        for name, entries in state.items():
            self._optimizer.state[self.parameters[name]] = dict(entries)


def milestones(at: Iterable[int], factor: float) -> Callable[[int], float]:
    """A schedule that multiplies the step size by a factor at every milestone.

    Args:
        at: Numbers of steps after which the step size changes.
        factor: By what, e.g. 0.5.

    Returns:
        From the number of steps taken before to a factor of the first step size.
    """
    places = sorted(at)
    if not factor > 0 or any(each < 1 for each in places):
        raise ValueError(f"milestones {places} with {factor=}: expected positive numbers")
    return lambda updates: factor ** bisect.bisect_right(places, updates)


def annealed(shape: Literal["linear", "cosine"], updates: int, end: float = 0.0) -> Callable[[int], float]:
    """A schedule that lets the step size fall steadily over the whole training.

    Args:
        shape: "linear", or half a "cosine" (Loshchilov and Hutter 2017, without restarts).
        updates: Steps of the whole training; after them the step size stays at its end.
        end: What it falls to, as a factor of the first step size, in [0, 1].

    Returns:
        From the number of steps taken before to a factor of the first step size.
    """
    if shape not in ("linear", "cosine"):
        raise ValueError(f"shape={shape!r}, expected 'linear' or 'cosine'")
    if updates < 1 or not 0 <= end <= 1:
        raise ValueError(f"{updates=}, {end=}: expected 1 or more updates, and an end in [0, 1]")

    def factor(done: int) -> float:
        left = 1 - min(done / updates, 1)
        return end + (1 - end) * (left if shape == "linear" else (1 - math.cos(math.pi * left)) / 2)

    return factor


class TrustRegion:
    """One natural-gradient step, as large as a bound on the KL divergence allows.

    Trust-region policy optimisation (Schulman et al. 2015, section 6 and appendix C), as the outer step of
    MAML (Finn et al. 2017, section 5.3). With g the gradient of the loss and F the Hessian of the KL
    divergence at the current parameters and H = F + damping I, x solves H x = g by conjugate gradient on
    exact Hessian-vector products, and the step -sqrt(2 max_kl / x'Hx) x is shrunk until the loss falls and
    the KL divergence is within the bound. If it never is, the parameters stay as they were.

    The loss must give `metrics["kl"]`: a scalar tensor, part of the graph and twice differentiable, the mean
    divergence from the policy that collected the data.

    Args:
        parameters: Tensors by name, or just tensors. Those with `requires_grad=False` are left alone.
        max_kl: Bound on the KL divergence, in nats.
        cg_steps: Iterations of conjugate gradient.
        damping: Added to the diagonal of F.
        backtracks: Step sizes tried.
        shrink: Factor between one and the next.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor] | Iterable[Tensor],
        max_kl: float,
        cg_steps: int = 10,
        damping: float = 1e-5,
        backtracks: int = 15,
        shrink: float = 0.8,
    ):
        if not max_kl > 0 or cg_steps < 1 or damping < 0 or backtracks < 1 or not 0 < shrink < 1:
            raise ValueError(
                f"{max_kl=}, {cg_steps=}, {damping=}, {backtracks=}, {shrink=}: expected max_kl > 0, "
                "cg_steps >= 1, damping >= 0, backtracks >= 1 and 0 < shrink < 1"
            )
        self.parameters = trainable(parameters)
        self.max_kl, self.cg_steps, self.damping = max_kl, cg_steps, damping
        self.backtracks, self.shrink = backtracks, shrink

    def update(self, loss: Loss) -> dict[str, float]:
        """Take one step, or none.

        Returns:
            The metrics at the old parameters, with `loss`, `grad_norm`, and of the step: `kl`, `improvement`
            (by how much the loss fell), `line_search_steps` (sizes tried), `accepted` (1 or 0).

        Raises:
            NonFinite: the loss or its gradient is infinite or no number; nothing was changed.
            ValueError: the loss gives no differentiable `metrics["kl"]`.
        """
        value, metrics = loss()
        before = checked_mean(value, "loss")
        divergence = _divergence(metrics)
        gradients = gradient(value, self.parameters, keep_graph=True)
        norm = checked_norm(gradients)
        direction, size = self._natural_step(flat(gradients.values()), divergence)
        logged = to_floats({**metrics, "loss": before}) | {"grad_norm": norm}
        del value, divergence, metrics  # frees the graph before the line search builds its own
        return logged | self._line_search(loss, before, direction, size)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: each step starts afresh."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave: nothing.

        Raises:
            ValueError: there is something.
        """
        if tensors:
            raise ValueError(
                f"got state {', '.join(tensors)}, but a trust region has none; was the config changed?"
            )

    def _natural_step(self, gradient: Tensor, divergence: Tensor) -> tuple[Tensor, float]:
        """The direction (number of parameters,) to go against, and how far; 0 if there is nowhere to go."""
        parameters = list(self.parameters.values())
        first = torch.autograd.grad(divergence, parameters, create_graph=True, materialize_grads=True)
        slope = flat(first)

        def curvature(vector: Tensor) -> Tensor:
            if not slope.requires_grad:
                return self.damping * vector
            second = torch.autograd.grad(
                slope @ vector, parameters, retain_graph=True, materialize_grads=True
            )
            return distributed.mean_(flat(second)) + self.damping * vector

        direction = conjugate_gradient(curvature, gradient, self.cg_steps)
        along = float(direction @ curvature(direction))
        if not math.isfinite(along) or along <= 0:
            return torch.zeros_like(gradient), 0.0
        return direction, math.sqrt(2 * self.max_kl / along)

    def _line_search(self, loss: Loss, before: float, direction: Tensor, size: float) -> dict[str, float]:
        old = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        tried = 0
        if size > 0:
            for tried in range(1, self.backtracks + 1):
                self._move(old, direction, size * self.shrink ** (tried - 1))
                value, metrics = loss()
                both = torch.stack([value.detach().double(), _divergence(metrics).detach().double()])
                after, kl = distributed.mean_(both).tolist()
                del value, metrics
                if after < before and kl <= self.max_kl:
                    return _outcome(kl, before - after, tried, accepted=True)
        self._move(old, direction, 0.0)
        return _outcome(0.0, 0.0, tried, accepted=False)

    @torch.no_grad()
    def _move(self, old: Mapping[str, Tensor], direction: Tensor, size: float) -> None:
        """Set the parameters to `old - size * direction`; exactly `old` for size 0."""
        parts = direction.split([each.numel() for each in old.values()])
        for (name, start), part in zip(old.items(), parts, strict=True):
            self.parameters[name].copy_(start if size == 0 else start - size * part.view_as(start))


def _outcome(kl: float, improvement: float, tried: int, *, accepted: bool) -> dict[str, float]:
    return {"kl": kl, "improvement": improvement, "line_search_steps": tried, "accepted": float(accepted)}


def _divergence(metrics: Mapping[str, Tensor | float]) -> Tensor:
    kl = metrics.get("kl")
    if not isinstance(kl, Tensor) or not kl.requires_grad or kl.numel() != 1:
        got = f"a tensor of shape {tuple(kl.shape)}" if isinstance(kl, Tensor) else repr(kl)
        graph = ", without a graph" if isinstance(kl, Tensor) and not kl.requires_grad else ""
        raise ValueError(f"a trust region needs metrics['kl'], a scalar with its graph; got {got}{graph}")
    return kl
