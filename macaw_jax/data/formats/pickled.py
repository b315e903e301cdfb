"""Pickled dicts of arrays, as the data of Meta-DT.

One task is a dict of arrays with N rows, forwards in time: `observations`, `actions`, `rewards` `[N]` or `[N, 1]`,
`next_observations`, and `terminals` (or `dones`). It may have `timeouts`, true where the time limit ended an episode,
or `masks`, true where `terminals` does not count because it is the time limit's. Other keys are not read.

An episode ends at a terminal row, a timeout, a row whose mask says that a terminal does not count, or, without
timeouts, where the next observation is not the observation below it.

A pickle has no checksum: see `unpickle`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.files import source_files
from macaw_jax.data.formats.hdf5 import MAX_COMPRESSION
from macaw_jax.data.formats.parameters import read_task_parameters
from macaw_jax.data.formats.table import (
  Table,
  actions,
  check_follows,
  check_lengths,
  column,
  flags,
  follows,
  make_episodes,
  matrix,
  same_sizes,
)
from macaw_jax.data.formats.unpickle import read_pickle
from macaw_jax.data.manifest import DatasetError


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from `.pkl` or `.pickle` files, one a task, or all such files of one directory in the order of their names.

  A single file may hold several tasks, as a list or as a dict of dicts, in the order in which they stand there.

  Raises:
    DatasetError: a file is damaged, names anything but arrays and plain containers, or contradicts itself.
  """
  files = source_files(paths, (".pkl", ".pickle"))
  sources: list[tuple[str, Any]] = []
  for path in files:
    content = read_pickle(path)
    if len(files) == 1 and isinstance(content, list):
      sources += [(f"{path}: task {index}", task) for index, task in enumerate(content)]
    elif (
      len(files) == 1 and isinstance(content, dict) and content and all(isinstance(x, dict) for x in content.values())
    ):
      sources += [(f"{path}: task {name!r}", task) for name, task in content.items()]
    else:
      sources.append((str(path), content))
  if not sources:
    raise DatasetError(f"{files[0]}: expected at least one task, got an empty list")
  _check_bytes([task for _, task in sources], files)
  tasks = []
  for where, task in sources:
    tasks.append(_read_task(task, where))
    check_lengths(tasks[-1], options, where)
  same_sizes(tasks, [where for where, _ in sources])
  parameters: list[dict[str, Any]] = [{} for _ in tasks]
  read_files = list(files)
  if options.tasks_file is not None:
    parameters, parameter_files = read_task_parameters(options.tasks_file, len(tasks))
    read_files += parameter_files
  return Imported(tasks, parameters, options.discount, tuple(read_files))


def _check_bytes(tasks: list[Any], files: list[Path]) -> None:
  """Tasks of one file may refer to the same arrays: together they may need more than the file could hold."""
  arrays = [
    array for task in tasks if isinstance(task, dict) for array in task.values() if isinstance(array, np.ndarray)
  ]
  needed, stored = sum(array.nbytes for array in arrays), sum(path.stat().st_size for path in files)
  if needed > MAX_COMPRESSION * stored:
    raise DatasetError(f"{files[0]}: expected arrays that fit {stored} bytes of files, got {needed} bytes")


def _read_task(task: Any, where: str) -> Episodes:
  if not isinstance(task, dict):
    raise DatasetError(f"{where}: expected a dict of arrays, got {type(task).__name__}")
  end_key = "terminals" if "terminals" in task else "dones"
  for key in ("observations", "actions", "rewards", "next_observations", end_key):
    if key not in task:
      raise DatasetError(f"{where}: key {key!r} is missing; found {[str(name) for name in task][:20]}")
  observation = matrix(task["observations"], where, "observations")
  rows, columns = observation.shape
  done = flags(task[end_key], where, end_key, rows)
  mask = flags(task["masks"], where, "masks", rows) if "masks" in task else np.zeros(rows, np.bool_)
  table = Table(
    observation=observation,
    action=actions(task["actions"], where, "actions", rows),
    reward=column(task["rewards"], where, "rewards", rows),
    next_observation=matrix(task["next_observations"], where, "next_observations", rows, columns),
    terminal=done & ~mask,
  )
  if "timeouts" in task:
    last = done | flags(task["timeouts"], where, "timeouts", rows)
    check_follows(table, last, where, "next_observations")
  else:
    last = done | np.append(~follows(table), True)
  return make_episodes(table, last)
