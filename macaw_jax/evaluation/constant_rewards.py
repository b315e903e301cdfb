"""Data whose rewards say nothing: a probe of whether an agent reads the rewards of its support at all.

Where tasks differ in their rewards alone, whatever is still known of the task after adaptation to such data was read
from the behaviour policy.
"""

import numpy as np

from macaw_jax.data.dataset import Dataset


def mean_reward(dataset: Dataset) -> float:
  """The mean reward over all real rows of all tasks."""
  sizes = np.asarray(dataset.size)
  total = sum(np.asarray(rows[:size]).sum(dtype=np.float64) for rows, size in zip(dataset.reward, sizes, strict=True))
  return float(total / sizes.sum())


def with_constant_rewards(dataset: Dataset, reward: float, discount: float, skip: int = 1) -> Dataset:
  """The dataset with every reward replaced, and Monte-Carlo returns that follow from it.

  With n steps left in the episode a return is `reward (1 + discount + ... + discount^(n - 1))`.

  Args:
    dataset: on the host, whole episodes in order, as `load_dataset` gives it.
    reward: in the units of the dataset's rewards.
    discount: gamma of the dataset's returns.
    skip: the dataset's; n is exact with 1, and else at most skip - 1 too small, the rows after the last being unknown.
  """
  rows = np.arange(dataset.reward.shape[1])
  ends = np.where(np.asarray(dataset.last) == 1.0, rows, rows[-1])  # [T, N]
  last_row = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
  steps_left = skip * (last_row - rows) + 1
  if discount == 1.0:
    sums = steps_left.astype(np.float64)
  else:
    sums = (1.0 - np.float64(discount) ** steps_left) / (1.0 - discount)
  is_real = rows < np.asarray(dataset.size)[:, None]
  return dataset._replace(
    reward=np.where(is_real, reward, 0.0).astype(np.float32),
    mc_return=np.where(is_real, reward * sums, 0.0).astype(np.float32),
  )
