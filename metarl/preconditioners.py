"""Update rules that change the direction of the gradient before another rule takes the step.

Each wraps a `base` rule, plain gradient descent unless told otherwise, and starts as that rule. Tensors are looked at as
the weights of layers: the first axis is outputs, the second inputs, what is left the kernel, as one axis. Outputs that
come and go, such as the classes of a head, can be left as they are: `plain` names such tensors.

Legend: O outputs, I inputs, K kernel positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metarl.names import fits
from metarl.update_rules import RULE_PREFIX, SGD, Adapted, Params, UpdateRule, adapted_names, looked_up


@dataclass(frozen=True)
class MetaCurvature:
    """A learned matrix for every axis of every gradient (Park and Oliva 2019, "Meta-Curvature", MC2).

    G of shape (O, I, K) becomes G x_O M_O x_I M_I x_K M_K, products along one axis each: a Kronecker-factored matrix that
    all steps share. Meta-parameters are `rule.curvature.<axis>.<name>`, identities at first.
    """

    base: UpdateRule = field(default_factory=SGD)
    """Takes the step with what comes out."""
    plain: tuple[str, ...] = ()
    """Name patterns of tensors that have no matrix for their first axis."""

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """Identity matrices to merge into the params, requiring a gradient, and what the base starts with."""
        found = self.base.init(params, steps, adapted)
        for name in adapted_names(params, adapted):
            sizes = _as_layer(params[name]).shape
            for axis in self._axes(name, len(sizes)):
                found[_key("curvature", name, axis)] = _identity(params[name], sizes[axis])
        return found

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step."""
        changed = {}
        for name, grad in grads.items():
            layer = _as_layer(grad)
            for axis in self._axes(name, layer.dim()):
                matrix = looked_up(params, _key("curvature", name, axis))
                layer = torch.tensordot(matrix, layer, ([1], [axis])).movedim(0, axis)
            changed[name] = layer.reshape(grad.shape)
        return self.base.update(params, changed, step, loss)

    def _axes(self, name: str, number: int) -> range:
        return range(1 if fits(name, self.plain) else 0, number)


@dataclass(frozen=True)
class TNet:
    """Gradient descent in a learned subspace and metric of every layer's outputs (Lee and Choi 2018, "T-Net and MT-Net").

    A layer is T W x with W adapted and T learned. In terms of V = T W, which is what the params hold, a step is
    V - a T T' G, so T enters as a preconditioner and the network stays as it is. With `masked` (MT-Net) only some rows of
    W are adapted in a task: V - a T diag(m) T' G, where m = sigmoid((z + noise) / temperature) is a relaxed Bernoulli
    variable for every output. Its noise, standard logistic and the same in all steps, is read from
    `rule.noise.<name>`, shape (O,); without it (in testing) there is none.

    Meta-parameters are `rule.transform.<name>`, identities (O, O) at first, and `rule.mask.<name>`, logits z, of tensors
    with two axes or more. Others are left to the base rule.
    """

    base: UpdateRule = field(default_factory=SGD)
    """Takes the step with what comes out."""
    masked: bool = False
    """Whether to learn which outputs adapt."""
    temperature: float = 1.0
    """Of the mask, above 0: the lower, the nearer to 0 or 1."""
    plain: tuple[str, ...] = ()
    """Name patterns of tensors that are left to the base rule."""

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """Identities and zero logits to merge into the params, requiring a gradient, and what the base starts with."""
        found = self.base.init(params, steps, adapted)
        for name in adapted_names(params, adapted):
            value = params[name]
            if self._transforms(name, value):
                found[_key("transform", name)] = _identity(value, len(value))
                if self.masked:
                    found[_key("mask", name)] = value.new_zeros(len(value), requires_grad=True)
        return found

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step."""
        return self.base.update(
            params, {name: self._through(params, name, grad) for name, grad in grads.items()}, step, loss
        )

    def _through(self, params: Mapping[str, Tensor], name: str, grad: Tensor) -> Tensor:
        """T T' G, or T diag(m) T' G."""
        if not self._transforms(name, grad):
            return grad
        transform = looked_up(params, _key("transform", name))
        inner = transform.mT @ grad.flatten(1)
        if self.masked:
            logits = looked_up(params, _key("mask", name))
            noise = params.get(_key("noise", name))
            logits = logits if noise is None else logits + noise
            inner = torch.sigmoid(logits / self.temperature).unsqueeze(-1) * inner
        return (transform @ inner).view(grad.shape)

    def _transforms(self, name: str, value: Tensor) -> bool:
        return value.dim() > 1 and not fits(name, self.plain)


@dataclass(frozen=True)
class Geodesic:
    """Steps along geodesics of the orthogonal group, which turn the matrices of layers and never stretch them.

    The base rule's step S moves W, flattened to (O, I K), to exp(-skew(S W')) W where O is at most I K, else to
    W exp(-skew(W' S)); skew(A) = (A - A') / 2. To first order that is the part of S that keeps W' W or W W' as it is: if
    W has orthonormal rows (or columns), the projection of S on the directions that turn it. A single row or column moves
    likewise, as a point on a sphere: by 2 skew on its longer side, as one number cannot turn. Tensors with one axis or
    none take the base rule's step. The idea of an update on a Lie group as surveys name it, in its plainest form; no
    paper's.
    """

    base: UpdateRule = field(default_factory=SGD)
    """Says which step would be taken without the constraint."""
    plain: tuple[str, ...] = ()
    """Name patterns of tensors that are left to the base rule."""

    def init(self, params: Mapping[str, Tensor], steps: int, adapted: Adapted = "all") -> Params:
        """What the base starts with: this rule learns nothing."""
        return self.base.init(params, steps, adapted)

    def update(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        step: int = 0,
        loss: Tensor | None = None,
    ) -> Params:
        """The tensors named in `grads` after one step."""
        after = self.base.update(params, grads, step, loss)
        for name in grads:
            if params[name].dim() > 1 and not fits(name, self.plain):
                after[name] = _turned(params[name], params[name] - after[name])
        return after


def _turned(weight: Tensor, by: Tensor) -> Tensor:
    """A weight moved by a step along the group's geodesic."""
    matrix, step = weight.flatten(1), by.flatten(1)
    rows, columns = matrix.shape
    single = min(rows, columns) == 1
    left = rows > columns if single else rows <= columns
    product = step @ matrix.mT if left else matrix.mT @ step
    turn = torch.linalg.matrix_exp((product.mT - product) / (1 if single else 2))
    return (turn @ matrix if left else matrix @ turn).view(weight.shape)


def _as_layer(value: Tensor) -> Tensor:
    """A tensor with at most the axes O, I and K."""
    return value.flatten(2) if value.dim() > 3 else value


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device, requires_grad=True)


def _key(kind: str, name: str, axis: int | None = None) -> str:
    return f"{RULE_PREFIX}{kind}.{name}" if axis is None else f"{RULE_PREFIX}{kind}.{axis}.{name}"
