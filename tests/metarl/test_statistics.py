"""Summaries by hand-computed numbers."""

import numpy as np
import pytest

from metarl.statistics import (
    bootstrap_band,
    interquartile_mean,
    percentile_interval,
    stratified_bootstrap,
    stratified_means,
)


def test_interquartile_mean_by_hand():
    assert interquartile_mean([100, 2, 3, 4, 5, 6, 7, -90]) == 4.5  # the middle four: 3, 4, 5, 6
    assert interquartile_mean([1, 2, 6]) == 3  # a quarter of three rounds down to none
    assert interquartile_mean([0, 1, 2, 3, 9]) == 2  # a quarter of five is one: 1, 2, 3
    assert interquartile_mean([[0, 10], [1, 11], [2, 12], [3, 99]]) == 6.5  # pooled: 2, 3, 10, 11


def test_interquartile_mean_along_an_axis():
    scores = np.array([[0.0, 40], [1, 10], [2, 20], [3, 30]])
    np.testing.assert_array_equal(interquartile_mean(scores, axis=0), [1.5, 25])


def test_bootstrap_draws_runs_within_each_task():
    # Two runs, two tasks far apart: means of a stratified draw are 0, .5 or 1 plus 50, never 0 or 100
    scores = np.array([[0.0, 100.0], [1.0, 101.0]])
    seen = []

    def mean(sample):
        seen.append(sample.copy())
        return sample.mean()

    low, high = stratified_bootstrap(scores, mean, reps=500, rng=1)
    assert (low, high) == (50.0, 51.0)
    drawn = np.array(seen)
    assert set(drawn[:, :, 0].ravel()) == {0.0, 1.0}
    assert set(drawn[:, :, 1].ravel()) == {100.0, 101.0}
    mixed = drawn[:, 0, 0] != drawn[:, 0, 1] - 100  # tasks are drawn apart from one another
    assert 0.4 < mixed.mean() < 0.6


def test_bootstrap_of_one_task_is_the_exact_distribution():
    # Means of two draws from {0, 1}: 0 with 1/4, 1/2 with 1/2, 1 with 1/4. At level 0.4 (0.3 to 0.7): 1/2 only
    assert stratified_bootstrap([0.0, 1.0], np.mean, reps=4000, level=0.4) == (0.5, 0.5)
    assert stratified_bootstrap([0.0, 1.0], np.mean, reps=4000, level=0.6) == (0.0, 1.0)


def test_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = stratified_bootstrap(rng.normal(size=(20, 3)), np.mean, reps=200, rng=rng)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_same_seed_same_interval():
    scores = np.random.default_rng(0).normal(size=(5, 4))
    assert stratified_bootstrap(scores, rng=3) == stratified_bootstrap(scores, rng=3)
    assert stratified_bootstrap(scores, rng=3) != stratified_bootstrap(scores, rng=4)


def test_band_is_the_bootstrap_at_each_point():
    curves = np.random.default_rng(0).normal(size=(60, 3))
    low, high = bootstrap_band(curves, reps=4000)
    for point in range(3):
        expected = stratified_bootstrap(curves[:, point], reps=4000, rng=5)
        assert (low[point], high[point]) == pytest.approx(expected, abs=0.03)


def test_percentiles_by_hand():
    low, high = percentile_interval(np.arange(101.0), level=0.9)
    assert (low, high) == pytest.approx((5.0, 95.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interquartile_mean([]), "no scores"),
        (lambda: interquartile_mean([1, float("nan")]), "1 of 2 scores are NaN"),
        (lambda: stratified_bootstrap([1, 2], level=95), "level=95"),
        (lambda: stratified_bootstrap(np.ones((2, 2, 2))), "expected \\(runs, tasks\\)"),
        (lambda: stratified_bootstrap([1, 2], reps=0), "reps=0"),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_stratified_means_draw_within_each_stratum():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(3, 40, 2)) + np.array([0.0, 100.0, 200.0])[:, None, None]
    mean, low, high = stratified_means(scores, reps=4000)
    np.testing.assert_allclose(mean, scores.mean(axis=(0, 1)))
    for point in range(2):  # the other way: indices drawn one by one, strata as columns
        expected = stratified_bootstrap(scores[..., point].T, np.mean, reps=4000)
        np.testing.assert_allclose((low[point], high[point]), expected, atol=0.03)
    one = stratified_means(np.ones((2, 5, 1)))
    assert [float(each[0]) for each in one] == pytest.approx([1, 1, 1])


def test_stratified_means_pass_a_missing_number_on():
    scores = np.ones((1, 3, 2))
    scores[0, 1, 0] = np.nan
    mean, low, high = stratified_means(scores)
    assert np.isnan([mean[0], low[0], high[0]]).all()
    assert mean[1] == 1
    with pytest.raises(ValueError, match="strata"):
        stratified_means(np.ones((2, 3)))
