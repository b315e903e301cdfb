"""Returns on a scale that compares across tasks."""

import numpy as np
from numpy.typing import ArrayLike


def normalised_score(returns: ArrayLike, random_return: ArrayLike, expert_return: ArrayLike) -> np.ndarray:
  """100 (return - random) / (expert - random): 0 for a random policy, 100 for the task's expert.

  NaN where expert and random policy do equally well: such a task has no scale (a sparse reward that neither found).

  Args:
    returns: `[...]` undiscounted returns.
    random_return: `[...]` or scalar, from the manifest's `reference_returns`, as `expert_return`.
    expert_return: `[...]` or scalar.
  """
  span = np.subtract(expert_return, random_return)
  return 100.0 * np.subtract(returns, random_return) / np.where(span == 0.0, np.nan, span)
