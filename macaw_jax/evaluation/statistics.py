"""Aggregate scores over seeds and tasks, with intervals.

Mean, interquartile mean and stratified-bootstrap intervals follow Agarwal et al. 2021, "Deep Reinforcement Learning at
the Edge of the Statistical Precipice" (arXiv:2108.13264), section 4: seeds are resampled within each task, tasks never.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import numpy as np
from scipy import stats

Statistic = Callable[..., Any]
"""`(scores, axis) -> values`, as `np.mean`: over one axis, or over all for `axis=None`."""


class Interval(NamedTuple):
  """A statistic and the interval around it."""

  estimate: float
  low: float
  high: float


def interquartile_mean(scores: np.ndarray, axis: int | None = None) -> Any:
  """Mean of the middle half of scores: of n sorted scores, floor(n / 4) are left out at each end.

  NaN where any score is NaN: a failed run must not vanish among the outliers.
  """
  return stats.trim_mean(scores, 0.25, axis=axis)


def stratified_bootstrap(
  scores: np.ndarray, statistic: Statistic, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
  """Percentile bootstrap interval of a statistic of all scores, seeds resampled with replacement within each task.

  Args:
    scores: `[S, T]`, seeds by tasks.
    statistic: such as `np.mean` or `interquartile_mean`.
    level: share of the resampled statistics inside the interval.
    resamples: number of resampled statistics.
    seed: of the resampling.

  Returns:
    The statistic of `scores` itself and the two ends. With one seed, the ends equal the estimate: nothing is known
    about the spread over seeds. All three are NaN where the statistic is.
  """
  chex.assert_rank(scores, 2)
  estimate = float(statistic(scores, axis=None))
  if len(scores) == 1 or np.isnan(estimate):
    return Interval(estimate, estimate, estimate)
  interval = stats.bootstrap(
    tuple(scores.T),  # A sample for each task: samples are resampled independently of each other.
    lambda *of_tasks, axis: statistic(np.concatenate(of_tasks, axis=axis), axis=axis),
    n_resamples=resamples,
    vectorized=True,
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return Interval(estimate, float(interval.low), float(interval.high))
