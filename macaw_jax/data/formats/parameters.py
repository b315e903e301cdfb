"""Task parameters in pickles, as the released MACAW data have them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.files import source_files
from macaw_jax.data.formats.unpickle import read_pickle
from macaw_jax.data.manifest import DatasetError


def read_task_parameters(path: Path, num_tasks: int) -> tuple[list[dict[str, Any]], list[Path]]:
  """Parameters of each task, as numbers and nested lists, and the files they come from.

  The path is a pickled list of one dict for each task, or a directory with a file `.pkl` for each task, in the order of
  the numbers in their names, each a list of exactly one dict.

  Raises:
    DatasetError: the files hold something else, or not `num_tasks` tasks.
  """
  files = source_files([path], (".pkl", ".pickle"))
  tasks: list[dict[str, Any]] = []
  for file in files:
    listed = read_pickle(file)
    if not isinstance(listed, list) or not all(isinstance(task, dict) for task in listed):
      raise DatasetError(f"{file}: expected a pickled list of dicts, got {type(listed).__name__}")
    if Path(path).is_dir() and len(listed) != 1:
      raise DatasetError(f"{file}: expected a list of one dict, as the file is that of one task, got {len(listed)}")
    tasks += [task_parameters(task, str(file)) for task in listed]
  if len(tasks) != num_tasks:
    raise DatasetError(f"{path}: expected parameters of {num_tasks} tasks, got {len(tasks)}")
  return tasks, files


def task_parameters(task: Mapping[Any, Any], where: str) -> dict[str, Any]:
  """A dict with numbers and nested lists of numbers for values."""
  for key in task:
    if not isinstance(key, str):
      raise DatasetError(f"{where}: expected names of task parameters, got {key!r}")
  return {key: _plain(value, where, key) for key, value in task.items()}


def _plain(value: Any, where: str, key: str) -> Any:
  value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
  if isinstance(value, list | tuple):
    return [_plain(item, where, key) for item in value]
  # A whole number may be larger than any float.
  if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
    raise DatasetError(f"{where}: key {key!r}: expected a finite number or a list of them, got {str(value)[:80]!r}")
  return value
