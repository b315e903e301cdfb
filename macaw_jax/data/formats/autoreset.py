"""Environments that reset themselves: which next observations are those of a reset.

Vector environments begin a new episode by themselves, in one of two ways.

- Same step (Gym up to 0.26, Stable-Baselines3, Brax, Gymnasium's SAME_STEP): the step that ends an episode returns the
  first observation of the next one. What was recorded as the next observation of an episode's last row is that of a
  reset, and the true one is not among the rows.
- Next step (Gymnasium from 1.0, EnvPool, dm_env): the step after it does. A row of its own stands between two episodes,
  from the true final observation to the first of the next episode, with an action that was ignored and reward 0.

Either way rows follow one another across the end of an episode, so only the size of the step tells: a reset leads far
away. Both tests below compare displacements (`follows.displacements`) in some rows with those in all others.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from macaw_jax.data.formats.follows import distances, step_sizes
from macaw_jax.data.formats.table import Table

Test = Callable[[np.ndarray, np.ndarray], bool]
"""`(some displacements, others) -> whether the first are larger`."""

_FAR = 2.0  # times the largest hundredth of other displacements
_TOP = 0.1  # share of other displacements that are larger than the typical one of resets
_SIGNIFICANCE = 1e-4
_MOST_PAIRS = 200  # of ends and starts that are compared in one task
_FEWEST_PAIRS = 5  # of all tasks: fewer show nothing


def far(some: np.ndarray, others: np.ndarray) -> bool:
  """Whether three quarters of some displacements are beyond all that others are, which no chance explains."""
  return bool(len(some) and len(others)) and bool(np.quantile(some, 0.25) > _FAR * np.quantile(others, 0.99))


def larger(some: np.ndarray, others: np.ndarray) -> bool:
  """Whether some displacements are among the largest: `far`, or by their ranks (Fisher's test)."""
  if not len(some) or not len(others):
    return False
  reached = len(others) - np.searchsorted(np.sort(others), some, side="left")  # others at least as large
  return far(some, others) or _are_small((reached + 1) / (len(others) + 1))


def go_on(tables: list[Table], ends: list[np.ndarray]) -> bool:
  """Whether rows below ends begin where these led, and not where any other episode begins: nothing was reset.

  Args:
    tables: of each task.
    ends: rows of each task that end an episode and are not the last row.
  """
  shares = []
  for table, rows in zip(tables, ends, strict=True):
    rows = rows[:_MOST_PAIRS]
    if len(rows) > 1:
      ended, began = table.observation[rows], table.observation[rows + 1]
      between = distances(ended[:, None], began[None], step_sizes(table))  # [E, E]
      nearer = (between <= np.diag(between)[:, None]).sum(axis=1)  # itself among them
      shares += list(nearer / len(rows))
  return len(shares) >= _FEWEST_PAIRS and _are_small(np.array(shares))


def regular_distance(position: np.ndarray, size: np.ndarray, marked: np.ndarray, stand_out: Test = far) -> int | None:
  """The smallest distance of rows whose displacements stand out from all others; None where there is none.

  Args:
    position: `[N]` of each row since the last known end.
    size: `[N]` displacements.
    marked: `[N]` bool, rows that are known to end an episode.
    stand_out: `far` or `larger`.
  """
  for period in sorted(_candidates(position, size)):
    at = (position + 1) % period == 0
    if (at & ~marked).sum() > 1 and stand_out(size[at & ~marked], size[~at & ~marked]):
      return period
  return None


def _are_small(shares: np.ndarray) -> bool:
  """Whether numbers that are uniform in (0, 1] by chance are mostly small, as Fisher's method tests."""
  statistic = -2.0 * np.log(shares).sum()
  return bool(np.median(shares) <= _TOP and stats.chi2.sf(statistic, 2 * len(shares)) <= _SIGNIFICANCE)


def _candidates(position: np.ndarray, size: np.ndarray) -> set[int]:
  """Distances that stand out rows may have: the most frequent ones between the largest displacements."""
  found: set[int] = set()
  typical = float(np.median(size))
  for factor in (2.0, 4.0, 8.0, 16.0):
    rows = np.flatnonzero(size > factor * typical)
    between = [position[rows] + 1]
    for lag in range(1, min(6, len(rows))):
      difference = position[rows[lag:]] - position[rows[:-lag]]
      between.append(difference[difference == rows[lag:] - rows[:-lag]])  # within one piece
    values, counts = np.unique(np.concatenate(between), return_counts=True)
    found |= set(values[np.argsort(counts)[::-1][:20]].tolist())
  return found - {1}
