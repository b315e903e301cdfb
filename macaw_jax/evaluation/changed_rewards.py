"""Data with other rewards than those that were recorded: what an agent makes of them says whether it reads rewards.

Rewards that are all the same say nothing. Where tasks differ in their rewards alone, whatever is still known of the
task after adaptation to such data was read from the behaviour policy. Noise on the rewards, and a constant added to
them, are what an agent meets whose rewards come from somewhere else than those of its training.
"""

import numpy as np

from macaw_jax.data.dataset import Dataset, discounted_returns


def reward_moments(dataset: Dataset) -> tuple[float, float]:
  """Mean and standard deviation of the reward over all real rows of all tasks."""
  rewards = np.concatenate([rows[:size] for rows, size in zip(dataset.reward, dataset.size, strict=True)])
  return float(rewards.mean(dtype=np.float64)), float(rewards.std(dtype=np.float64))


def with_rewards(dataset: Dataset, reward: np.ndarray | float, discount: float, skip: int = 1) -> Dataset:
  """The dataset with every reward replaced, and Monte-Carlo returns that follow from it.

  Args:
    dataset: on the host, whole episodes in order, as `load_dataset` gives it.
    reward: of each row `[T, N]`, or of all, in the units of the dataset's rewards.
    discount: gamma of the dataset's returns.
    skip: the dataset's. With more than 1 a row stands for those after it that were left out, those after an episode's
      last row being unknown.
  """
  rewards = np.broadcast_to(np.asarray(reward, np.float64), dataset.reward.shape)
  paid, returns = np.zeros_like(dataset.reward), np.zeros_like(dataset.mc_return)
  steps = np.sum(np.float64(discount) ** np.arange(skip))  # that a row stands for, discounted
  for task, size in enumerate(np.asarray(dataset.size)):
    paid[task, :size] = rewards[task, :size]
    is_last = np.asarray(dataset.last[task, :size]) == 1.0
    is_last[-1] = True
    ends = np.flatnonzero(is_last)
    each = np.where(is_last, 1.0, steps) * rewards[task, :size]
    returns[task, :size] = discounted_returns(each, np.diff(ends, prepend=-1), discount**skip)
  return dataset._replace(reward=paid, mc_return=returns)
