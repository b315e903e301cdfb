import math

import numpy as np
import pytest
from scipy import stats

from macaw_jax.evaluation import statistics


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
  # 0, 1 | 2, 3, 4, 5 | 6, 1000: mean of 2, 3, 4, 5.
  scores = np.array([[1000.0, 5, 2, 0], [3, 4, 1, 6]])
  assert statistics.interquartile_mean(scores) == 3.5


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 10, 33])
def test_interquartile_mean_agrees_with_scipy_trim_mean(size):
  scores = np.random.default_rng(size).normal(size=size)
  np.testing.assert_allclose(statistics.interquartile_mean(scores), stats.trim_mean(scores, 0.25), rtol=1e-12)


def test_a_failed_run_is_not_an_outlier():
  assert math.isnan(statistics.interquartile_mean(np.array([[np.nan, 1.0, 2.0, 3.0, 4.0]])))


def test_interval_of_equal_seeds_is_a_point():
  # Tasks differ, seeds do not: resampling seeds within tasks changes nothing.
  scores = np.tile([[0.0, 50.0, 100.0]], (4, 1))
  interval = statistics.stratified_bootstrap(scores, statistics.mean)
  assert interval == (50.0, 50.0, 50.0)


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
