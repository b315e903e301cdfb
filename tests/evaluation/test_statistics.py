import math
import warnings

import numpy as np
import pytest
from scipy import stats

from macaw_jax.evaluation import statistics


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
  # 0, 1 | 2, 3, 4, 5 | 6, 1000: mean of 2, 3, 4, 5.
  scores = np.array([[1000.0, 5, 2, 0], [3, 4, 1, 6]])
  assert statistics.interquartile_mean(scores) == 3.5


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 10, 33])
def test_interquartile_mean_cuts_whole_scores(size):
  scores = np.random.default_rng(size).normal(size=(size, 1))
  cut = size // 4
  expected = np.mean(np.sort(scores.ravel())[cut : size - cut])
  np.testing.assert_allclose(statistics.interquartile_mean(scores), expected, rtol=1e-12)


def test_a_failed_run_is_not_an_outlier():
  scores = np.array([[np.nan, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
  assert math.isnan(statistics.interquartile_mean(scores))
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert all(map(math.isnan, statistics.stratified_bootstrap(scores, statistics.interquartile_mean)))


def test_interval_of_equal_seeds_is_a_point():
  # Tasks differ, seeds do not: resampling seeds within tasks changes nothing.
  scores = np.tile([[0.0, 50.0, 100.0]], (4, 1))
  assert statistics.stratified_bootstrap(scores, statistics.mean) == (50.0, 50.0, 50.0)
  assert statistics.stratified_bootstrap(scores[:1], statistics.mean) == (50.0, 50.0, 50.0)


def test_tasks_are_resampled_independently_of_each_other():
  # Of two seeds, each task's mean is -1, 0 or 1 with 1/4, 1/2, 1/4. For 40 tasks the mean of means is normal with
  # standard deviation sqrt(1/2 / 40); were whole seeds drawn, the ends would be -1 and 1.
  scores = np.tile([[-1.0], [1.0]], (1, 40))
  interval = statistics.stratified_bootstrap(scores, statistics.mean, resamples=5000)
  half = 1.96 * np.sqrt(0.5 / 40)
  np.testing.assert_allclose([interval.low, interval.high], [-half, half], atol=0.02)


def test_interval_is_that_of_resampling_by_hand():
  rng = np.random.default_rng(3)
  scores = rng.gamma(2.0, size=(6, 5))
  for statistic in (statistics.mean, statistics.median, statistics.interquartile_mean, statistics.optimality_gap):
    drawn = [statistic(np.take_along_axis(scores, rng.integers(6, size=(6, 5)), axis=0)) for _ in range(20_000)]
    interval = statistics.stratified_bootstrap(scores, statistic, level=0.9, resamples=20_000)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(drawn, [0.05, 0.95]), atol=0.02)


def test_interval_of_the_mean_agrees_with_theory():
  # Resampled mean of 100 seeds x 1 task: normal with standard deviation std / 10, so +- 1.96 of it.
  scores = np.random.default_rng(0).normal(size=(100, 1))
  interval = statistics.stratified_bootstrap(scores, statistics.mean, resamples=5000)
  half = 1.96 * scores.std() / 10
  assert interval.estimate == scores.mean()
  np.testing.assert_allclose([interval.low, interval.high], [scores.mean() - half, scores.mean() + half], atol=0.012)


def test_interval_covers_as_often_as_it_says():
  rng = np.random.default_rng(1)
  covered = 0
  for seed in range(200):
    scores = rng.normal(size=(20, 3)) + np.array([0.0, 10.0, 20.0])
    interval = statistics.stratified_bootstrap(scores, statistics.mean, resamples=200, seed=seed)
    covered += interval.low <= 10.0 <= interval.high
  assert 0.88 <= covered / 200 <= 0.99


def test_scores_need_two_axes():
  with pytest.raises(AssertionError):
    statistics.stratified_bootstrap(np.zeros(3), statistics.mean)


def test_median_is_over_tasks_of_the_mean_over_seeds():
  scores = np.array([[0.0, 10.0, 100.0], [2.0, 30.0, 0.0]])  # means 1, 20, 50
  assert statistics.median(scores) == 20.0


def test_scores_above_the_target_make_up_for_nothing():
  assert statistics.optimality_gap(np.array([[90.0, 300.0]])) == 5.0
  assert statistics.optimality_gap(np.array([[1.0, 3.0]]), target=2.0) == 0.5


def test_probability_of_improvement_is_that_of_the_rank_sum_test():
  rng = np.random.default_rng(0)
  ours, theirs = rng.integers(0, 6, size=(7, 3)).astype(float), rng.integers(1, 6, size=(4, 3)).astype(float)
  # SciPy's U counts pairs in which ours is larger, and half of the ties.
  expected = np.mean([stats.mannwhitneyu(x, y).statistic / 28 for x, y in zip(ours.T, theirs.T, strict=True)])
  np.testing.assert_allclose(statistics.probability_of_improvement(ours, theirs), expected, rtol=1e-12)
  assert statistics.probability_of_improvement(ours + 10.0, theirs) == 1.0


def test_improvement_of_a_few_seeds_is_not_certain():
  rng = np.random.default_rng(2)
  found = statistics.improvement_interval(rng.normal(size=(5, 4)), rng.normal(size=(3, 4)))
  assert found.low < found.estimate < found.high
  again = statistics.improvement_interval(np.ones((5, 4)), np.zeros((3, 4)))
  assert again == (1.0, 1.0, 1.0)


def test_a_profile_is_one_minus_the_distribution_of_scores():
  scores = np.random.default_rng(1).normal(size=(6, 4))
  thresholds = np.linspace(-2.0, 2.0, 9)
  found = statistics.profile_interval(scores, thresholds)
  expected = 1.0 - stats.ecdf(scores.ravel()).cdf.evaluate(thresholds)
  np.testing.assert_allclose(found.estimate, expected, rtol=1e-12)
  assert np.all(found.low <= found.estimate)
  assert np.all(found.estimate <= found.high)
  assert np.all(np.diff(found.estimate) <= 0.0)
