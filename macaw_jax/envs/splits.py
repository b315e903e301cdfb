"""Splits of a family's tasks."""

from collections.abc import Sequence

import numpy as np

from macaw_jax.envs.family import TaskSplit


def hold_out(num_tasks: int, test_tasks: Sequence[int]) -> TaskSplit:
  """Tests on `test_tasks`, trains on all others."""
  return TaskSplit(tuple(task for task in range(num_tasks) if task not in test_tasks), tuple(test_tasks))


def hold_out_last_quarter(angles: np.ndarray) -> TaskSplit:
  """Trains on the tasks whose angles [num_tasks], in [0, 2 pi), lie below 3/2 pi, tests on those beyond."""
  return hold_out(len(angles), np.flatnonzero(angles >= 1.5 * np.pi).tolist())


def hold_out_largest(values: np.ndarray, num_test: int) -> TaskSplit:
  """Tests on the `num_test` tasks of largest value, trains on the others; each side is in the order of the tasks.

  Args:
    values: one number a task, [num_tasks]; among equal ones the later tasks count as larger.
    num_test: how many tasks to test on.

  Raises:
    ValueError: no task would be left on one side.
  """
  if not 0 < num_test < len(values):
    raise ValueError(f"num_test: expected 1 to {len(values) - 1} of {len(values)} tasks, got {num_test}.")
  order = np.argsort(values, kind="stable")
  train, test = np.sort(order[:-num_test]), np.sort(order[-num_test:])
  return TaskSplit(tuple(train.tolist()), tuple(test.tolist()))


def evenly_spaced(limit: float, num_train: int, num_test: int) -> tuple[np.ndarray, TaskSplit]:
  """Numbers of tasks on [-limit, limit], [num_train + num_test] float32, and their split: one without chance.

  The first `num_train` are evenly spaced from -limit to limit. The last `num_test` are the middles of as many equal
  parts of the range; with `num_train` even, none of them is a training number.
  """
  train = np.linspace(-limit, limit, num_train)
  test = limit * (2.0 * np.arange(num_test) + 1.0 - num_test) / num_test
  split = TaskSplit(tuple(range(num_train)), tuple(range(num_train, num_train + num_test)))
  return np.concatenate([train, test]).astype(np.float32), split
