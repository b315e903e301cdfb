"""Splits of a family's tasks."""

import numpy as np

from macaw_jax.envs.family import TaskSplit


def hold_out_largest(values: np.ndarray, num_test: int) -> TaskSplit:
  """Tests on the `num_test` tasks of largest value, trains on the others: an extrapolation split.

  Args:
    values: one number a task, [num_tasks]; among equal ones the later tasks count as larger.
    num_test: how many tasks to test on.

  Returns:
    The split, each side in the order of the tasks.

  Raises:
    ValueError: no task would be left on one side.
  """
  if not 0 < num_test < len(values):
    raise ValueError(f"num_test: expected 1 to {len(values) - 1} of {len(values)} tasks, got {num_test}.")
  order = np.argsort(values, kind="stable")
  train, test = np.sort(order[:-num_test]), np.sort(order[-num_test:])
  return TaskSplit(tuple(train.tolist()), tuple(test.tolist()))
