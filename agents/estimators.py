"""What a trajectory says about a policy: returns, advantages, and surrogates whose gradient is the policy gradient.

Pure functions. Time is the last axis; what stands before it (trajectories, tasks) is carried along.

Legend: H time steps; `mask` is 1 while the episode runs and 0 after it has ended.
"""

import math

import torch
from torch import Tensor

from metarl.agents.configs import Estimator


def returns_to_go(rewards_H: Tensor, mask_H: Tensor, discount: float) -> Tensor:
    """Discounted sum of the rewards from each step to the episode's end.

    Args:
        rewards_H: Rewards, shape (..., H).
        mask_H: 1 for steps that belong to the episode, shape (..., H).
        discount: Per step, in (0, 1].

    Returns:
        Shape (..., H).
    """
    return _discounted_sum(rewards_H * mask_H, discount)


def generalized_advantages(
    rewards_H: Tensor, values_H: Tensor, mask_H: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16), finite horizon.

    The value after the last step is zero: an episode's horizon is part of the task.

    Args:
        rewards_H: Rewards, shape (..., H).
        values_H: State values, shape (..., H).
        mask_H: 1 for steps that belong to the episode, shape (..., H).
        discount: Per step, in (0, 1].
        gae_lambda: In [0, 1]; 1 gives returns less values, 0 one-step temporal differences.

    Returns:
        Advantages, shape (..., H), zero after the episode's end.
    """
    values_H = values_H * mask_H
    following_H = torch.cat([values_H[..., 1:], torch.zeros_like(values_H[..., :1])], dim=-1)
    deltas_H = (rewards_H + discount * following_H - values_H) * mask_H
    return _discounted_sum(deltas_H, discount * gae_lambda) * mask_H


def _discounted_sum(x_H: Tensor, factor: float) -> Tensor:
    total = torch.zeros_like(x_H[..., 0])
    sums = []
    for x in reversed(x_H.unbind(-1)):
        total = x + factor * total
        sums.append(total)
    return torch.stack(sums[::-1], dim=-1)


def standardize(x: Tensor, mask: Tensor, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Shift and scale each task's unmasked entries to mean 0 and standard deviation 1.

    Args:
        x: Shape (..., B, H).
        mask: 1 for entries that count, same shape.
        groups: Number of a group for each row, (..., B): every group is shifted to mean 0 by itself. Unset, one group.

    Returns:
        The result, zero where masked, and the standard deviation that was divided by, shape (...).
    """
    dims = (-2, -1)
    count = mask.sum(dims, keepdim=True).clamp(min=1)
    if groups is None:
        mean = (x * mask).sum(dims, keepdim=True) / count
    else:
        alike = (groups.unsqueeze(-1) == groups.unsqueeze(-2)).to(x.dtype)
        sums, counts = (alike @ each.to(x.dtype).sum(-1, keepdim=True) for each in (x * mask, mask))
        mean = sums / counts.clamp(min=1)
    std = (((x - mean).square() * mask).sum(dims, keepdim=True) / count).sqrt() + 1e-8
    return (x - mean) / std * mask, std.squeeze(-1).squeeze(-1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the unmasked entries of one task, shapes (B, H), as a scalar."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def surrogate(
    log_probs_BH: Tensor,
    sampled_log_probs_BH: Tensor,
    advantages_BH: Tensor,
    mask_BH: Tensor,
    kind: Estimator,
    weights_BH: Tensor | None = None,
) -> Tensor:
    """A scalar of one task's trajectories whose gradient estimates the gradient of their expected return.

    With f(w) = exp(w - w_sampled), which is 1 where the policy is the one that sampled:

    - `dice`: mean of (f(w_t) - f(w_{t-1})) * A_t with w_t the log-probability of actions 0..t. All its derivatives are
      right (Foerster et al. 2018; advantage form: Farquhar et al. 2019, arXiv 1909.10549, eq. 13).
    - `lvc`: mean of f(log-probability of action t) * A_t (Rothfuss et al. 2019, eq. 8). Right first derivative; the
      second drops the products of different steps' scores, which lowers its variance.
    - `log_prob`: mean of log-probability * A_t. Right first derivative only.

    Args:
        log_probs_BH: Log-probabilities of the actions under the policy to differentiate, shape (B, H).
        sampled_log_probs_BH: The same under the policy that sampled; a constant.
        advantages_BH: Advantages; a constant.
        mask_BH: 1 for steps that belong to an episode.
        kind: Which surrogate.
        weights_BH: Importance weights (see `importance_weights`), constants; None for 1.

    Returns:
        Scalar, to be maximised; the mean over the trajectories' steps.
    """
    if weights_BH is not None:
        advantages_BH = advantages_BH * weights_BH
    if kind == "log_prob":
        return masked_mean(log_probs_BH * advantages_BH, mask_BH)
    w_BH = (log_probs_BH - sampled_log_probs_BH) * mask_BH
    if kind == "lvc":
        return masked_mean(w_BH.exp() * advantages_BH, mask_BH)
    up_to_BH = w_BH.cumsum(-1)
    before_BH = up_to_BH - w_BH
    return masked_mean((up_to_BH.exp() - before_BH.exp()) * advantages_BH, mask_BH)


def clipped_surrogate(
    log_probs_BH: Tensor, sampled_log_probs_BH: Tensor, advantages_BH: Tensor, mask_BH: Tensor, clip: float
) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7) of one task, a scalar to be maximised."""
    ratio_BH = (log_probs_BH - sampled_log_probs_BH).exp()
    clipped_BH = ratio_BH.clamp(1 - clip, 1 + clip)
    return masked_mean(torch.minimum(ratio_BH * advantages_BH, clipped_BH * advantages_BH), mask_BH)


def score_term(
    log_probs_BH: Tensor, sampled_log_probs_BH: Tensor, weight: Tensor, mask_BH: Tensor, clip: float
) -> Tensor:
    """The sampling's share of the meta-gradient (Al-Shedivat et al. 2018, eq. 4, second sum).

    Where the policy is the one that sampled, its gradient is the weight times the summed scores of every trajectory.
    Away from there the probability ratios are clipped as PPO clips them, so that several epochs on one batch stay sane.

    Args:
        log_probs_BH: Log-probabilities, under the parameters to differentiate, of all actions before adaptation.
        sampled_log_probs_BH: The same under the policy that sampled; a constant.
        weight: What the task returned after adaptation, less a baseline; a constant scalar.
        mask_BH: 1 for steps that belong to an episode.
        clip: Ratios count within [1 - clip, 1 + clip].

    Returns:
        Scalar to be maximised.
    """
    weights_BH = weight.expand_as(log_probs_BH)
    return mask_BH.sum() * clipped_surrogate(log_probs_BH, sampled_log_probs_BH, weights_BH, mask_BH, clip)


def importance_weights(log_ratio_BH: Tensor, mask_BH: Tensor, kind: str, clip: float) -> Tensor:
    """Weights for trajectories that another policy sampled (Al-Shedivat et al. 2018, eq. 9).

    Ratios are multiplied as sums of logarithms. Weights of more than one step are divided by their mean over all steps
    (weighted importance sampling): where every trajectory is unlikely by now, an update would be next to nothing.

    Args:
        log_ratio_BH: Log-probability of each action under the policy in question less that under the one that sampled.
        mask_BH: 1 for steps that belong to an episode.
        kind: `trajectory` (the product over the whole episode, the paper's), `per_decision` (over the actions up to each
            step), `step` (each action by itself) or `none` (1).
        clip: The logarithm of a weight lies in [-clip, clip] (after that division).

    Returns:
        Shape (..., B, H), without gradient.
    """
    log_ratio_BH = (log_ratio_BH * mask_BH).detach()
    if kind == "trajectory":
        log_weights_BH = log_ratio_BH.sum(-1, keepdim=True).expand_as(log_ratio_BH)
    elif kind == "per_decision":
        log_weights_BH = log_ratio_BH.cumsum(-1)
    else:
        log_weights_BH = log_ratio_BH if kind == "step" else torch.zeros_like(log_ratio_BH)
    if kind in ("trajectory", "per_decision"):
        kept_BH = log_weights_BH.masked_fill(mask_BH == 0, -math.inf).flatten(-2)
        mean = kept_BH.logsumexp(-1) - mask_BH.sum((-2, -1)).clamp(min=1).log()
        mean = torch.where(mean.isfinite(), mean, torch.zeros_like(mean))
        log_weights_BH = log_weights_BH - mean.unsqueeze(-1).unsqueeze(-1)
    return log_weights_BH.clamp(-clip, clip).exp()


def effective_sample_size(log_ratio_BH: Tensor, mask_BH: Tensor) -> Tensor:
    """How many trajectories the whole-trajectory weights leave: (sum of w)^2 / sum of w^2, in [1, B].

    Kish's effective sample size, from logarithms, so that it never overflows.

    Args:
        log_ratio_BH: As in `importance_weights`, shape (..., B, H).
        mask_BH: 1 for steps that belong to an episode.

    Returns:
        Shape (...).
    """
    log_weights_B = (log_ratio_BH * mask_BH).sum(-1)
    return (2 * log_weights_B.logsumexp(-1) - (2 * log_weights_B).logsumexp(-1)).exp()
