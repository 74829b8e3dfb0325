"""Norms that are exact under vmap and second derivatives, and the choice of what batch norm normalises by.

PyTorch's fused norms lose part of their second derivative under `torch.func.vmap`, silently. The norms here
are written from primitive operations, or with derivatives of their own.

Legend: N images, C channels, H and W height and width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.names import unknown
from metarl.nn.batch_normalisation import normalised
from metarl.nn.pooling import has_fast_path, max_pool, max_pool_with_moments, moments
from metarl.transforms import inside_transform

BatchStatistics = Literal["batch", "support", "running"]
"""What batch norm normalises by: moments of all rows, of the first rows, or stored averages."""

_records: dict[int, list[tuple[Tensor, Tensor]]] = {}
"""Moments met while `recorded_moments` lasts, by the identity of a norm's buffer, which its copies share."""


class BatchNorm(nn.Module):
    """Batch norm by the batch at hand, by its first rows, or by stored averages (Ioffe, Szegedy 2015).

    An ordinary forward writes no state. The averages are set by `recorded_moments`.

    Args:
        channels: C, the size of axis 1.
        eps: Added to the variance.
        affine: Whether to learn a scale and a shift.
    """

    running_mean: Tensor
    running_var: Tensor
    recorded: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("recorded", torch.zeros((), dtype=torch.int64))
        self._checked: Tensor | None = None

    def forward(self, x: Tensor, statistics: BatchStatistics = "batch", support: int = 0) -> Tensor:
        """Shape (N, C, ...) to the same shape.

        Args:
            x: Rows to normalise.
            statistics: "batch": by their own moments (results then depend on the whole batch, and should be
                reported so). "support": by those of the first rows. "running": by the stored averages.
            support: How many rows come first, for "support".

        Raises:
            ValueError: A shape or a name is wrong, or no averages were stored yet.
        """
        self._check(x, statistics, support)
        if has_fast_path(x):
            return self._scaled(x, *self._moments(x, statistics, support))
        # By the batch a fused norm refuses one value per channel.
        several = x.numel() > self.channels or statistics == "running"
        fused = x.device.type == "cuda" and not inside_transform() and not _records
        if fused and several and statistics != "support":
            return self._fused(x, statistics)
        if statistics == "running":
            return self._scaled(x, self.running_mean, self.running_var)
        if statistics == "batch" and inside_transform():
            return self._normalised(x)
        rows, dims = support if statistics == "support" else x.shape[0], (0, *range(2, x.dim()))
        variance, mean = torch.var_mean(x[:rows], dims, correction=0)
        return self._scaled(x, *self._record(mean, variance))

    def _fused(self, x: Tensor, statistics: str) -> Tensor:
        """A GPU's own batch norm, which reads the images twice and no more."""
        stored = statistics == "running"
        mean, variance = (self.running_mean, self.running_var) if stored else (None, None)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, not stored, 0.0, self.eps)

    def _normalised(self, x: Tensor) -> Tensor:
        """By the batch's own moments, for transforms."""
        self._refuse_to_record()
        weight = x.new_ones(self.channels) if self.weight is None else self.weight
        bias = x.new_zeros(self.channels) if self.bias is None else self.bias
        return normalised(x, weight, bias, self.eps)

    def then_max_pool(self, x: Tensor, statistics: BatchStatistics = "batch", support: int = 0) -> Tensor:
        """`max_pool(self(x))`, with most of the norm's work done after the pooling: (N, C, H, W) halved."""
        if not has_fast_path(x):
            return max_pool(self(x, statistics, support))
        self._check(x, statistics, support)
        if self.weight is None or not (self.weight < 0).any():
            return self._scaled(*self._pooled(x, statistics, support))
        # Under a negative scale the largest output comes from the smallest input: turn those channels round.
        sign = torch.where(self.weight < 0, -1.0, 1.0).to(x.dtype)
        return self._scaled(*self._pooled(x * sign.view(-1, 1, 1), statistics, support, sign), sign)

    def _check(self, x: Tensor, statistics: str, support: int) -> None:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"expected shape (N, {self.channels}, ...), got {tuple(x.shape)}")
        if statistics == "batch":
            return
        if statistics == "support":
            if not 0 < support <= x.shape[0]:
                raise ValueError(f"statistics='support' needs 1 to {x.shape[0]} support rows, got {support}")
        elif statistics != "running":
            raise unknown("statistics", statistics, ("batch", "support", "running"))
        elif (
            self._checked is not self.recorded
        ):  # asked once of every tensor: an answer from a GPU takes long
            if not self.recorded.item():
                raise ValueError(
                    "statistics='running', but batch norm has no averages yet: set them with "
                    "metarl.nn.recorded_moments"
                )
            self._checked = self.recorded

    def _moments(self, x: Tensor, statistics: str, support: int) -> tuple[Tensor, Tensor]:
        if statistics == "running":
            return self.running_mean, self.running_var
        return self._record(*moments(x[:support] if statistics == "support" else x))

    def _pooled(
        self, x: Tensor, statistics: str, support: int, sign: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Maxima and moments of x, some channels of which have their sign turned."""
        if statistics == "running":
            mean = self.running_mean if sign is None else self.running_mean * sign
            return max_pool(x), mean, self.running_var
        found = (max_pool(x), *moments(x[:support])) if statistics == "support" else max_pool_with_moments(x)
        self._record(found[1] if sign is None else found[1] * sign, found[2])
        return found

    def _scaled(self, x: Tensor, mean: Tensor, variance: Tensor, sign: Tensor | None = None) -> Tensor:
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * (self.weight if sign is None else self.weight * sign)
        shift = -mean * scale
        shift = shift if self.bias is None else shift + self.bias
        shape = (-1, *(1,) * (x.dim() - 2))
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    def _record(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        if _records and (kept := _records.get(id(self.running_mean))) is not None:
            self._refuse_to_record()
            kept.append((mean.detach().flatten(), variance.detach().flatten()))
        return mean, variance

    def _refuse_to_record(self) -> None:
        if id(self.running_mean) in _records and inside_transform():
            raise ValueError("moments are recorded outside torch.func only: run tasks with how='loop'")


@contextmanager
def recorded_moments(module: nn.Module) -> Iterator[None]:
    """While it lasts, moments are kept; at its end their means become the averages of the module's batch norms.

    Variances are biased, as in training. Copies made by `metarl.nn.stateless` count as the module, in any thread. A norm
    that met no batch, and every norm after an error, keeps what it had.
    """
    norms = [each for each in module.modules() if isinstance(each, BatchNorm)]
    kept: dict[int, list[tuple[Tensor, Tensor]]] = {id(each.running_mean): [] for each in norms}
    _records.update(kept)
    try:
        yield
    finally:
        for key in kept:
            _records.pop(key, None)
    for norm in norms:
        if found := kept[id(norm.running_mean)]:
            norm.running_mean.copy_(torch.stack([mean for mean, _ in found]).mean(0))
            norm.running_var.copy_(torch.stack([variance for _, variance in found]).mean(0))
            norm.recorded.fill_(len(found))


def _standardise(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Zero mean and unit (biased) variance over `dims`."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


class GroupNorm(nn.Module):
    """Group norm (Wu and He 2018), each image by itself; `groups=1` is layer norm over an image."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5):
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels must be a multiple of groups, got {channels} and {groups}")
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, ...) to the same shape."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        return _affine(_standardise(grouped, (2,), self.eps).reshape(x.shape), self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer norm over the last axes (Ba et al. 2016).

    Args:
        shape: Sizes of the last axes, or of the last one.
        eps: Added to the variance.
    """

    def __init__(self, shape: int | Sequence[int], eps: float = 1e-5):
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., *shape) to the same shape."""
        if tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ValueError(f"layer norm over {self.shape} got {tuple(x.shape)}")
        return _standardise(x, tuple(range(-len(self.shape), 0)), self.eps) * self.weight + self.bias


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1,) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "layer": lambda channels: GroupNorm(1, channels),
    "group": lambda channels: GroupNorm(math.gcd(8, channels), channels),
    "none": lambda channels: nn.Identity(),
}


def norm_layer(name: str, channels: int) -> nn.Module:
    """The norm of that name; ValueError with the nearest name for one that is not known."""
    if name not in NORMS:
        raise unknown("norm", name, NORMS)
    return NORMS[name](channels)


def normalise(norm: nn.Module, x: Tensor, statistics: BatchStatistics = "batch", support: int = 0) -> Tensor:
    """`norm(x)` for any of `NORMS`; only batch norm heeds the statistics."""
    return norm(x, statistics, support) if isinstance(norm, BatchNorm) else norm(x)
