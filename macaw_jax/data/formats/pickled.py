"""Pickled dicts of arrays, as the data of Meta-DT.

One task is a dict of arrays with N rows, forwards in time: `observations` (or `states`), `actions`, `rewards` `[N]` or
`[N, 1]`, `next_observations` (or `next_states`), and `terminals` (or `dones`). It may have `timeouts`, true where the
time limit ended an episode, or `masks`, true where `terminals` does not count because it is the time limit's. Other
keys are not read.

An episode ends where `terminals` is true, whether it counts or not, or at a timeout. Without timeouts, or where neither
they nor `terminals` are ever true, ends are found by comparing rows, see `boundaries`.

A pickle has no checksum: see `unpickle`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.files import read_each, source_files
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import MAX_COMPRESSION
from macaw_jax.data.formats.table import Rows, Source
from macaw_jax.data.formats.unpickle import read_pickle
from macaw_jax.data.manifest import DatasetError


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from `.pkl` or `.pickle` files, one a task, or all such files of one directory in the order of their names.

  A single file may hold several tasks, as a list or as a dict of dicts, in the order in which they stand there.

  Raises:
    DatasetError: a file is damaged, names anything but arrays and plain containers, or contradicts itself.
  """
  files = source_files(paths, (".pkl", ".pickle"), options.beside)
  read_tasks = read_each(files, lambda path: _sources(read_pickle(path), path, alone=len(files) == 1))
  sources = [source for of_file in read_tasks for source in of_file]
  # Tasks of one file may refer to the same arrays: together they may need more than the file could hold.
  arrays = [array for _, _, task in sources if isinstance(task, dict) for array in task.values()]
  needed = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
  stored = sum(path.stat().st_size for path in files)
  if needed > MAX_COMPRESSION * stored:
    raise DatasetError(f"{files[0]}: expected arrays that fit {stored} bytes of files, got {needed} bytes")
  return gather((_read_task(task, where, path, options) for where, path, task in sources), options)


def _sources(content: Any, path: Path, alone: bool) -> list[tuple[str, Path, Any]]:
  """Name, file and content of each task in a file; several only where no other file is read."""
  if alone and isinstance(content, list):
    if not content:
      raise DatasetError(f"{path}: expected at least one task, got an empty list")
    return [(f"{path}: task {index}", path, task) for index, task in enumerate(content)]
  if alone and isinstance(content, dict) and content and all(isinstance(task, dict) for task in content.values()):
    return [(f"{path}: task {name!r}", path, task) for name, task in content.items()]
  if not isinstance(content, dict):
    raise DatasetError(f"{path}: expected a dict of arrays, got {type(content).__name__}")
  return [(str(path), path, content)]


def _read_task(task: Any, where: str, path: Path, options: ReadOptions) -> SourceTask:
  if not isinstance(task, dict):
    raise DatasetError(f"{where}: expected a dict of arrays, got {type(task).__name__}")

  def array(key: str) -> Any:
    if key not in task:
      raise DatasetError(f"{where}: key {key!r} is missing; found {[str(name) for name in task][:20]}")
    return task[key]

  def either(key: str, other: str) -> str:
    return other if other in task and key not in task else key

  source = Source(where, array, options)
  next_key = either("next_observations", "next_states")
  done_key = either("terminals", "dones")
  table = source.table(either("observations", "states"), "actions", "rewards", next_key, done_key)
  done, num_rows = table.terminal, len(table.reward)
  if "masks" in task:
    table = table._replace(terminal=done & ~source.flags("masks", num_rows))
  ends = done | source.flags("timeouts", num_rows) if "timeouts" in task else done
  rows = Rows(where, table, next_key, ends, complete="timeouts" in task and bool(ends.any()))
  return SourceTask((path,), rows, options.discount, notes=source.notes)
