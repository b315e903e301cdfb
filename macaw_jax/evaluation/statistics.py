"""Aggregate scores over seeds and tasks, with intervals.

All follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv:2108.13264), sections 3 and 4. A statistic is a function of scores [..., S, T], seeds by tasks; tasks are given,
and seeds are drawn anew within each task where an interval is asked for.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import chex
import numpy as np
from scipy import stats

Statistic = Callable[[np.ndarray], Any]
"""`scores [..., S, T] -> [...]`"""

TARGET = 100.0  # the score from which on nothing is lacking


class Interval(NamedTuple):
  """A statistic and the interval around it; numbers, or arrays where the statistic has several."""

  estimate: Any
  low: Any
  high: Any


def mean(scores: np.ndarray) -> Any:
  """Mean over seeds and tasks."""
  return np.mean(scores, axis=(-2, -1))


def median(scores: np.ndarray) -> Any:
  """Median over tasks of the mean over seeds: half of the tasks do not count."""
  return np.median(np.mean(scores, axis=-2), axis=-1)


def interquartile_mean(scores: np.ndarray) -> Any:
  """Mean of the middle half of all scores: of n sorted ones, floor(n / 4) are left out at each end.

  NaN where any score is NaN: a failed run must not vanish among the outliers.
  """
  return stats.trim_mean(_flat(scores), 0.25, axis=-1)


def optimality_gap(scores: np.ndarray, target: float = TARGET) -> Any:
  """Mean of max(0, target - score): by how much scores miss the target, those above it making up for nothing."""
  return np.mean(np.maximum(target - scores, 0.0), axis=(-2, -1))


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> Any:
  """Mean over tasks of P(X > Y) + P(X = Y) / 2, for a seed X of ours [..., S, T] and a seed Y of theirs [..., R, T]."""
  x, y = ours[..., :, None, :], theirs[..., None, :, :]
  return np.mean((x > y) + 0.5 * (x == y), axis=(-3, -2, -1))


def performance_profile(scores: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
  """For each of N thresholds, the share of all seeds and tasks whose score is above it: `[N, ...]`."""
  return np.stack([np.mean(scores > threshold, axis=(-2, -1)) for threshold in thresholds])


def stratified_bootstrap(
  scores: np.ndarray, statistic: Statistic, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
  """Percentile bootstrap interval of a statistic of all scores, seeds resampled with replacement within each task.

  Args:
    scores: `[S, T]`, seeds by tasks.
    statistic: such as `mean` or `interquartile_mean`.
    level: share of the resampled statistics inside the interval.
    resamples: number of resampled statistics.
    seed: of the resampling.

  Returns:
    The statistic of `scores` itself and the two ends. With one seed, the ends equal the estimate: nothing is known
    about the spread over seeds. All three are NaN where the statistic is.
  """
  return _bootstrap((scores,), statistic, level, resamples, seed)


def improvement_interval(
  ours: np.ndarray, theirs: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
  """`probability_of_improvement` with its interval, seeds `[S, T]` and `[R, T]` resampled each within its task."""
  return _bootstrap((ours, theirs), probability_of_improvement, level, resamples, seed)


def profile_interval(
  scores: np.ndarray, thresholds: Sequence[float], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
  """`performance_profile` of `[S, T]` with its interval at each threshold, all three `[N]`."""
  return _bootstrap((scores,), partial(performance_profile, thresholds=thresholds), level, resamples, seed)


def _bootstrap(
  groups: Sequence[np.ndarray], statistic: Callable[..., Any], level: float, resamples: int, seed: int
) -> Interval:
  """The interval of a statistic of one or more arrays `[S, T]`."""
  chex.assert_rank(list(groups), 2)
  estimate = _number(statistic(*groups))
  if max(map(len, groups)) == 1 or np.any(np.isnan(estimate)):
    return Interval(estimate, estimate, estimate)

  def of_samples(*of_tasks: np.ndarray, axis: int) -> Any:  # each [..., S], along whose last axis SciPy resamples
    columns = iter(of_tasks)
    return statistic(*(np.stack(list(islice(columns, group.shape[1])), axis=-1) for group in groups))

  interval = stats.bootstrap(
    tuple(column for group in groups for column in group.T),  # A sample a task: they are resampled independently.
    of_samples,
    n_resamples=resamples,
    vectorized=True,
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return Interval(estimate, _number(interval.low), _number(interval.high))


def _flat(scores: np.ndarray) -> np.ndarray:
  return np.reshape(scores, (*np.shape(scores)[:-2], -1))


def _number(value: Any) -> Any:
  return float(value) if np.ndim(value) == 0 else np.asarray(value)
