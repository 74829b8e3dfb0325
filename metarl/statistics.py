"""Summaries of few runs that say how sure they are.

Agarwal, Schwarzer, Castro, Courville & Bellemare, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021: report the interquartile mean over runs and tasks, with a bootstrap
interval in which the runs are drawn anew within each task. The definitions are those of its library rliable.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Statistic = Callable[[np.ndarray], Any]


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> Any:
    """The mean of the middle half of the scores.

    The lowest and the highest quarter are left out, each rounded down to whole scores; so of fewer than four
    scores it is the plain mean.

    Args:
        scores: Any shape, usually (runs, tasks); all of them are pooled unless `axis` is given.
        axis: Average over this axis only.

    Returns:
        A float, or an array with `axis` removed.

    Raises:
        ValueError: there are no scores, or one of them is not a number.
    """
    values = _numbers(scores)
    if axis is None:
        values, axis = values.reshape(-1), 0
    num = values.shape[axis]
    cut = int(0.25 * num)
    middle = np.take(np.sort(values, axis=axis), range(cut, num - cut), axis=axis).mean(axis=axis)
    return float(middle) if middle.ndim == 0 else middle


def stratified_bootstrap(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    reps: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> tuple[float, float]:
    """A percentile interval of a statistic, runs drawn with replacement within each task.

    Args:
        scores: Shape (runs, tasks); tasks are fixed, runs are what varies. Shape (runs,) is one task.
        statistic: From an array of that shape to a number.
        reps: How many times the runs are drawn.
        level: Share of the draws inside the interval, in (0, 1).
        rng: Generator or seed.

    Returns:
        The lower and the upper end.
    """
    values = _numbers(scores)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"scores have shape {values.shape}, expected (runs, tasks)")
    rng = np.random.default_rng(rng)
    tasks = np.arange(values.shape[1])
    draws = [
        statistic(values[rng.integers(values.shape[0], size=values.shape), tasks])
        for _ in range(_positive(reps))
    ]
    low, high = percentile_interval(draws, level)
    return float(low), float(high)


def bootstrap_band(
    curves: ArrayLike, reps: int = 2000, level: float = 0.95, rng: np.random.Generator | int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A percentile interval of the interquartile mean at each point of several curves, whole runs drawn anew.

    Args:
        curves: Shape (runs, points).
        reps: How many times the runs are drawn.
        level: Share of the draws inside the band, at each point.
        rng: Generator or seed.

    Returns:
        The lower and the upper edge, each of shape (points,).
    """
    values = _numbers(curves)
    if values.ndim != 2:
        raise ValueError(f"curves have shape {values.shape}, expected (runs, points)")
    rng = np.random.default_rng(rng)
    draws = rng.integers(len(values), size=(_positive(reps), len(values)))
    return percentile_interval([interquartile_mean(values[draw], axis=0) for draw in draws], level)


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """What lies between the percentiles that leave (1 - level) / 2 out at each end.

    Args:
        draws: Shape (draws, ...).
        level: In (0, 1).

    Returns:
        The lower and the upper end, each of shape (...).
    """
    tail = (1 - _share(level)) / 2
    low, high = np.quantile(_numbers(draws), [tail, 1 - tail], axis=0)
    return low, high


def stratified_means(
    scores: ArrayLike, reps: int = 2000, level: float = 0.95, rng: np.random.Generator | int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean at each point of repeated curves, with a percentile interval.

    The strata (tasks, training runs) are fixed and count alike; within each, whole curves are drawn anew.

    Args:
        scores: Shape (strata, repetitions, points); at a point with a NaN the result is NaN.
        reps: How many times the curves are drawn.
        level: Share of the draws inside the interval, at each point.
        rng: Generator or seed.

    Returns:
        The mean, the lower and the upper end of its interval, each of shape (points,).
    """
    values = np.asarray(scores, dtype=float)
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"scores have shape {values.shape}, expected (strata, repetitions, points), none 0")
    strata, num, points = values.shape
    rng = np.random.default_rng(rng)
    draws = np.zeros((_positive(reps), points))
    for stratum in values:
        times_drawn = rng.multinomial(num, np.full(num, 1 / num), size=reps)
        draws += times_drawn @ stratum / (num * strata)
    tail = (1 - _share(level)) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return values.mean(axis=(0, 1)), low, high


def _numbers(scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, dtype=float)
    if values.size == 0:
        raise ValueError("there are no scores to summarise")
    if np.isnan(values).any():
        missing = int(np.isnan(values).sum())
        raise ValueError(f"{missing} of {values.size} scores are NaN; leave those runs out and say so")
    return values


def _share(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level={level}, expected a share between 0 and 1, e.g. 0.95")
    return level


def _positive(reps: int) -> int:
    if reps < 1:
        raise ValueError(f"reps={reps}, expected at least 1")
    return reps
