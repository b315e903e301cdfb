"""Aggregate scores over seeds and tasks, with intervals.

Mean, interquartile mean and stratified-bootstrap intervals follow Agarwal et al. 2021, "Deep Reinforcement Learning at
the Edge of the Statistical Precipice" (arXiv:2108.13264), section 4: seeds are resampled within each task, tasks never.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import numpy as np

Statistic = Callable[[np.ndarray], float]


class Interval(NamedTuple):
  """A statistic and the interval around it."""

  estimate: float
  low: float
  high: float


def mean(scores: np.ndarray) -> float:
  """Mean of all scores; `scores` may have any shape."""
  return float(np.mean(scores))


def interquartile_mean(scores: np.ndarray) -> float:
  """Mean of the middle half of all scores: of n sorted scores, floor(n / 4) are left out at each end.

  NaN where any score is NaN: a failed run must not vanish among the outliers.
  """
  scores = np.sort(np.asarray(scores, np.float64), axis=None)
  cut = scores.size // 4
  return float("nan") if np.isnan(scores).any() else float(np.mean(scores[cut : scores.size - cut]))


def stratified_bootstrap(
  scores: np.ndarray, statistic: Statistic, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
  """Percentile bootstrap interval of `statistic`, seeds resampled with replacement within each task.

  Args:
    scores: `[S, T]`, seeds by tasks.
    statistic: `[S, T] -> float`, such as `mean` or `interquartile_mean`.
    level: share of the resampled statistics inside the interval.
    resamples: number of resampled statistics.
    seed: of the resampling.

  Returns:
    The statistic of `scores` itself and the two ends. With one seed, the ends equal the estimate: nothing is known
    about the spread over seeds.
  """
  chex.assert_rank(scores, 2)
  rng = np.random.default_rng(seed)
  num_seeds, num_tasks = scores.shape
  values = []
  for _ in range(resamples):
    rows = rng.integers(num_seeds, size=(num_seeds, num_tasks))
    values.append(statistic(np.take_along_axis(scores, rows, axis=0)))
  low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
  return Interval(statistic(scores), float(low), float(high))
