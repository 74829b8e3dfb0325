"""PAC-Bayes bounds for stochastic networks, of one task and of many.

After Amit and Meir (2018, "Meta-Learning by Adjusting Priors Based on Extended PAC-Bayes Theory"). Weights are drawn from
a posterior Q; a prior P was fixed before the data were seen. With probability 1 - delta over the samples, the expected
loss of Q is at most its mean on the samples plus a term that grows with KL(Q | P) and falls with the number of samples.
A prior learned from n tasks is itself drawn, from a hyper-posterior N(theta, k_Q^2), against a hyper-prior N(0, k_P^2);
what that costs is counted in every task's term, and once more in a term that falls with n.

A bound holds for losses in [0, 1], such as whether an answer is wrong. With cross-entropy in its place the same formula
is an objective and no bound.

Legend: n tasks, m samples of a task.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from metarl.names import unknown

Bound = Literal["mcallester", "seeger", "catoni", "pentina-lampert", "variational"]
BOUNDS = ("mcallester", "seeger", "catoni", "pentina-lampert", "variational")
"""Names of the terms; the last is variational Bayes, which is an objective only."""


def gaussian_kl(
    mean: Mapping[str, Tensor],
    log_var: Mapping[str, Tensor],
    prior_mean: Mapping[str, Tensor],
    prior_log_var: Mapping[str, Tensor],
) -> Tensor:
    """KL divergence of factorised Gaussians, summed in float64.

    Args:
        mean: Of the posterior, by name.
        log_var: Logarithms of its variances.
        prior_mean: Of the prior, same names and shapes.
        prior_log_var: Likewise.

    Returns:
        A scalar in nats, float64.
    """
    terms = []
    for name, center in mean.items():
        gap = (center - prior_mean[name]).square()
        ratio = log_var[name] - prior_log_var[name]
        each = ratio.exp() + gap * (-prior_log_var[name]).exp() - 1 - ratio
        terms.append(0.5 * each.sum(dtype=torch.float64))
    return torch.stack(terms).sum()


def hyper_kl(
    theta: Iterable[Tensor], spread: float = 1e-3, prior_spread: float = 100.0, *, whole: bool = True
) -> Tensor:
    """KL divergence of the hyper-posterior N(theta, spread^2) from the hyper-prior N(0, prior_spread^2).

    Args:
        theta: Everything that says the prior: means and logarithms of variances.
        spread: k_Q, above 0.
        prior_spread: k_P, above 0.
        whole: In as many dimensions as theta has numbers, which a certificate needs. Otherwise constants are those of one
            dimension, as in the authors' code; gradients are the same, and the bound is not valid.

    Returns:
        A scalar in nats, float64.
    """
    theta = list(theta)
    squares = torch.stack([each.square().sum(dtype=torch.float64) for each in theta]).sum()
    dims = sum(each.numel() for each in theta) if whole else 1
    ratio = spread / prior_spread
    return 0.5 * (squares / prior_spread**2 + dims * (ratio**2 - 1)) - dims * math.log(ratio)


def task_term(
    bound: Bound, loss: Tensor, complexity: Tensor, samples: int, tasks: int, delta: float
) -> Tensor:
    """What a bound adds to a task's mean loss.

    Args:
        bound: Which: "mcallester": sqrt((D + ln(2 n m / delta)) / (2 (m - 1))). "seeger": 2 e + sqrt(2 e loss) with
            e = (D + ln(2 n sqrt(m) / delta)) / m, which is smaller where the loss is small. "catoni":
            (2 / m) (D + ln(n / delta)) + loss (it bounds twice the loss). "pentina-lampert": D / sqrt(m). "variational":
            D / m.
        loss: Mean loss on the samples, in [0, 1] for a bound.
        complexity: D: KL(Q | P), plus the hyper-KL where the prior was learned from these tasks too (for
            "pentina-lampert" a share 1 / n of it, for "variational" nothing).
        samples: m, at least 2.
        tasks: n: 1 for a single task whose prior was fixed before.
        delta: Probability that the bound fails, in (0, 1).

    Returns:
        A scalar.

    Raises:
        ValueError: The bound is unknown, there are fewer than 2 samples, or delta is no probability.
    """
    _check(bound, delta)
    if samples < 2:
        raise ValueError(f"a PAC-Bayes bound needs 2 samples or more, got {samples}")
    if bound == "mcallester":
        return ((complexity + math.log(2 * tasks * samples / delta)) / (2 * (samples - 1))).sqrt()
    if bound == "seeger":
        share = (complexity + math.log(2 * tasks * math.sqrt(samples) / delta)) / samples
        # The root has no derivative where the loss is 0.
        return 2 * share + (2 * share * loss.clamp_min(1e-12)).sqrt()
    if bound == "catoni":
        return 2 / samples * (complexity + math.log(tasks / delta)) + loss
    return complexity / (math.sqrt(samples) if bound == "pentina-lampert" else samples)


def meta_term(bound: Bound, complexity: Tensor, samples: int, tasks: int, delta: float) -> Tensor:
    """What a bound adds once, for the prior having been learned from n tasks.

    Args:
        bound: "pentina-lampert": H / sqrt(n). "variational": H / m. Others: sqrt((H + ln(2 n / delta)) / (2 (n - 1))).
        complexity: H, the hyper-KL.
        samples: m, of each task.
        tasks: n, at least 2.
        delta: As in `task_term`.

    Raises:
        ValueError: As in `task_term`, for fewer than 2 tasks.
    """
    _check(bound, delta)
    if tasks < 2:
        raise ValueError(f"a prior is learned from 2 tasks or more, got {tasks}")
    if bound == "variational":
        return complexity / samples
    if bound == "pentina-lampert":
        return complexity / math.sqrt(tasks)
    return ((complexity + math.log(2 * tasks / delta)) / (2 * (tasks - 1))).sqrt()


def certificate(
    loss: float, complexity: float, samples: int, delta: float, *, draws: int, draws_delta: float = 0.01
) -> float:
    """A bound of the expected loss of weights drawn from a posterior, with probability 1 - delta - draws_delta.

    The tightest of these bounds: kl(loss | p) <= (D + ln(2 sqrt(m) / delta)) / m (Maurer 2004), of which "seeger" in
    `task_term` is a relaxation; with the mean loss itself bounded from finitely many draws of weights (Langford and
    Caruana 2002).

    Args:
        loss: Mean loss on the samples, in [0, 1], over draws of weights.
        complexity: D, in nats, with a prior that was fixed before the samples were seen.
        samples: m.
        delta: Probability that the samples deceive.
        draws: Of weights.
        draws_delta: Probability that they deceive.

    Raises:
        ValueError: The loss is not in [0, 1], or a probability is none.
    """
    _check("seeger", delta)
    _check("seeger", draws_delta)
    mean = inverted_kl(loss, math.log(2 / draws_delta) / draws)
    return inverted_kl(mean, (complexity + math.log(2 * math.sqrt(samples) / delta)) / samples)


def inverted_kl(share: float, budget: float) -> float:
    """The largest p with kl(share | p) at most `budget`, kl being that of two coins.

    Args:
        share: In [0, 1].
        budget: In nats, 0 or more.

    Returns:
        In [share, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a bound holds for losses in [0, 1], got {share}")
    low, high = share, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _coin_kl(share, middle) <= budget else (low, middle)
    return high


def _coin_kl(q: float, p: float) -> float:
    """kl(q | p) of coins that show heads with probabilities q and p."""
    heads = q * math.log(q / p) if q > 0 else 0.0
    tails = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 and p < 1 else 0.0
    return math.inf if p >= 1 > q else heads + tails


def _check(bound: str, delta: float) -> None:
    if bound not in BOUNDS:
        raise unknown("bound", bound, BOUNDS)
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta}, expected a probability between 0 and 1")
