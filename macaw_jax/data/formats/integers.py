"""Whole numbers from files: the tasks of a split, and lengths of episodes."""

from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.files import natural_key
from macaw_jax.data.formats.values import read_values
from macaw_jax.data.manifest import DatasetError


def read_task_indices(path: Path, key: str) -> tuple[int, ...]:
  """Indices of tasks from a file that `read_values` knows: a list, or what stands under `key` in a dict.

  Raises:
    DatasetError: the file holds something else.
  """
  content = read_values(path)
  if isinstance(content, dict):
    if key not in content:
      raise DatasetError(f"{path}: key {key!r} is missing; found {[str(name) for name in content][:20]}")
    content = content[key]
  found = _integers(content, at_least=0)
  if not found:
    raise DatasetError(f"{path}: expected a list of task indices from 0 on, or a dict with one under {key!r}")
  return tuple(found)


def read_episode_lengths(path: Path) -> list[list[int]]:
  """Lengths of episodes from a file that `read_values` knows: one list for all tasks, or a list for each task.

  A list of lists, an array `[T, E]`, or a dict of lists in the order of the numbers in its keys has one for each task.

  Raises:
    DatasetError: the file holds something else.
  """
  content = read_values(path)
  if isinstance(content, dict):
    content = [content[key] for key in sorted(content, key=lambda key: natural_key(str(key)))]
  elif _integers(content, at_least=1):
    content = [content]
  lists = [_integers(of_task, at_least=1) for of_task in content] if isinstance(content, list | np.ndarray) else []
  if not lists or not all(lists):
    raise DatasetError(f"{path}: expected lengths of episodes from 1 on, one list for all tasks or one for each task")
  return [found for found in lists if found]


def _integers(content: Any, at_least: int) -> list[int] | None:
  """A list of whole numbers, or a table of one row or one column of them; None for anything else."""
  try:
    array = np.asarray(content, np.float64)
  except (TypeError, ValueError):
    return None
  if array.ndim == 2 and 1 in array.shape:
    array = array.reshape(-1)
  if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (array != np.floor(array)).any():
    return None
  return [int(number) for number in array] if array.min() >= at_least else None
