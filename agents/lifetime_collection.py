"""Training on whole lifetimes, lived as they are at execution.

An episode judges what was adapted on the ones before it, which is the meta-loss of Al-Shedivat et al. 2018, eq. 6,
with the support sampled as Algorithm 2 samples it: by the policies that earlier updates gave, in earlier tasks. The
first episode judges the meta-parameters themselves.

Legend: T lifetimes, E episodes, B trajectories in the buffer, H time steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.agents.configs import SamplingConfig
from metarl.agents.execution import Episode
from metarl.agents.policy_adaptation import PolicyAdaptation, Valued


def as_tasks(
    course: Sequence[Episode], adaptation: PolicyAdaptation, sampling: SamplingConfig, buffer: int
) -> tuple[Valued, dict[str, Any]]:
    """What the outer objective needs of lived lifetimes, every episode after the first as a task of its own.

    Args:
        course: All episodes of T lifetimes, as `metarl.agents.execution.episodes` gives them.
        adaptation: Values the episodes.
        sampling: Discount, lambda, baseline and reward scale.
        buffer: Trajectories that every support is filled up to, the missing ones masked.

    Returns:
        The first episodes (leading axis T); and `support`, a list with the data of each inner step, and `query`, with
        the leading axis T (E - 1).
    """
    valued = [adaptation.value_tasks(each.params, each.lived, sampling) for each in course]
    steps = len(course[-1].support)
    longest = _longest([*valued[1:], *(each.support[step] for each in course[1:] for step in range(steps))])
    support = [
        _joined([_filled(each.support[step], buffer, longest) for each in course[1:]])
        for step in range(steps)
    ]
    query = _joined([_filled(each, 1, longest) for each in valued[1:]])
    return valued[0], {"support": support, "query": query}


def _joined(several: Sequence[Valued]) -> Valued:
    """One after the other along the leading axis."""
    return {name: torch.cat([each[name] for each in several]) for name in several[0]}


def _longest(several: Sequence[Valued]) -> dict[str, int]:
    """By name the largest number of steps (of states of a memory: of the parts that trajectories are unrolled in)."""
    return {
        name: max(each[name].shape[2] for each in several)
        for name, value in several[0].items()
        if value.dim() > 2
    }


def _filled(valued: Valued, trajectories: int, longest: Mapping[str, int]) -> Valued:
    """Filled up with masked trajectories and steps."""
    return {
        name: _padded(_padded(value, 1, trajectories), 2, longest.get(name, 0))
        for name, value in valued.items()
    }


def _padded(x: Tensor, axis: int, length: int) -> Tensor:
    if x.dim() <= axis or x.shape[axis] >= length:
        return x
    shape = list(x.shape)
    shape[axis] = length - shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)


def course_metrics(course: Sequence[Episode]) -> dict[str, float]:
    """What the adaptations were like, means over lifetimes and episodes, to be logged.

    Returns:
        `adapt/effective_sample_size` and `adapt/inner_kl`.
    """
    names = ("effective_sample_size", "inner_kl")
    return {f"adapt/{name}": float(np.mean([each.measures[name] for each in course[1:]])) for name in names}
