"""Weights that are independent normal variables, by name, and the objective of learning their prior from tasks.

After Amit and Meir (2018); bounds are in `metarl.supervised.pac_bayes`.

Legend: n tasks, m samples of a task.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.supervised.pac_bayes import Bound, gaussian_kl, hyper_kl, meta_term, task_term

LOG_VARIANCE, SPREAD = -10.0, 0.1
"""Mean and deviation of what logarithms of variances start as."""
LOWEST, HIGHEST = -30.0, 10.0
"""Between which logarithms of a prior's variances are kept."""


class Gaussians(NamedTuple):
    """A distribution of weights."""

    mean: dict[str, Tensor]
    """By name."""
    log_var: dict[str, Tensor]
    """Logarithms of variances, same names and shapes."""

    def draw(self, noise: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Weights: mean and deviation times noise, or means without noise."""
        if noise is None:
            return dict(self.mean)
        return self.moved(Gaussians(dict(noise), self.log_var)).mean

    def moved(self, by: "Gaussians") -> "Gaussians":
        """Means moved by multiples of their deviations, logarithms of variances by as much as is said."""
        return Gaussians(
            {
                name: mean + (0.5 * self.log_var[name]).exp() * by.mean[name]
                for name, mean in self.mean.items()
            },
            {name: each + by.log_var[name] for name, each in self.log_var.items()},
        )

    def named(self, prefix: str) -> dict[str, Tensor]:
        """As one dict with names `{prefix}mean.<name>` and `{prefix}log_var.<name>`."""
        return {
            f"{prefix}{part}.{name}": each for part, of in self._asdict().items() for name, each in of.items()
        }

    @classmethod
    def under(cls, prefix: str, params: Mapping[str, Tensor]) -> "Gaussians":
        """What `named` made a part of."""
        found: dict[str, dict[str, Tensor]] = {"mean": {}, "log_var": {}}
        for name, each in params.items():
            if name.startswith(prefix):
                part, _, rest = name.removeprefix(prefix).partition(".")
                if part in found:
                    found[part][rest] = each
        return cls(**found)


def starting(
    weights: Mapping[str, Tensor],
    generator: torch.Generator | None = None,
    log_variance: float = LOG_VARIANCE,
) -> Gaussians:
    """A distribution around some weights, with small variances.

    Args:
        weights: Means, by name; copied.
        generator: Of logarithms of variances, on the CPU; unset, torch's own.
        log_variance: Their mean.
    """
    log_var = {
        name: log_variance + SPREAD * torch.randn(each.shape, generator=generator).to(each)
        for name, each in weights.items()
    }
    return Gaussians({name: each.detach().clone() for name, each in weights.items()}, log_var)


def standard_normal(like: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Noise of the shapes of some weights, drawn on the CPU."""
    return {name: torch.randn(each.shape, generator=generator).to(each) for name, each in like.items()}


def prior_objective(
    bound: Bound,
    losses: Sequence[Tensor],
    posteriors: Sequence[Gaussians],
    prior: Gaussians,
    samples: int,
    tasks: int,
    *,
    delta: float = 0.1,
    shift: Mapping[str, Tensor] | None = None,
    whole: bool = False,
) -> Tensor:
    """The bound of the mean loss on new tasks (theorem 2), from some of the n tasks that the prior is learned from.

    Args:
        bound: Name of the terms.
        losses: Mean loss of each task, of weights drawn from its posterior.
        posteriors: Of the same tasks.
        prior: What they are compared with, and what is learned.
        samples: m.
        tasks: n, at least 2.
        delta: Probability that the bound fails.
        shift: Added to the prior's means in the tasks' terms: noise of the hyper-posterior; None for none.
        whole: Whether constants are those of a certificate, see `metarl.supervised.pac_bayes.hyper_kl`.

    Returns:
        A scalar: mean loss, mean of the tasks' terms, and the term of the prior.
    """
    prior = Gaussians(prior.mean, {n: each.clamp(LOWEST, HIGHEST) for n, each in prior.log_var.items()})
    hyper = hyper_kl([*prior.mean.values(), *prior.log_var.values()], whole=whole)
    mean = prior.mean if shift is None else {name: each + shift[name] for name, each in prior.mean.items()}
    counted = hyper * {"pentina-lampert": 1 / tasks, "variational": 0.0}.get(bound, 1.0)
    parts = []
    for loss, posterior in zip(losses, posteriors, strict=True):
        kl = gaussian_kl(posterior.mean, posterior.log_var, mean, prior.log_var)
        parts.append(loss + task_term(bound, loss, kl + counted, samples, tasks, delta))
    return torch.stack(parts).mean() + meta_term(bound, hyper, samples, tasks, delta)


def posterior_objective(
    bound: Bound, loss: Tensor, posterior: Gaussians, prior: Gaussians, samples: int, *, delta: float = 0.1
) -> Tensor:
    """The bound of the expected loss on one task, with a prior that was fixed before.

    Args:
        bound: Name of the term.
        loss: Mean loss of weights drawn from the posterior.
        posterior: What is learned.
        prior: What it is compared with.
        samples: m, at least 2.
        delta: Probability that the bound fails.

    Returns:
        A scalar.
    """
    log_var = {name: each.clamp(LOWEST, HIGHEST) for name, each in prior.log_var.items()}
    kl = gaussian_kl(posterior.mean, posterior.log_var, prior.mean, log_var)
    return loss + task_term(bound, loss, kl, samples, 1, delta)
