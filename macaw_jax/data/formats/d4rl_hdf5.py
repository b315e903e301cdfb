"""HDF5 files in the layout of D4RL: one file a task.

Datasets of N rows, forwards in time: `observations`, `actions`, `rewards`, `terminals` (the task ended the episode),
`timeouts` (the time limit did) and `next_observations`. The last two are missing from some files; other keys, as
`infos` and `metadata`, are not read.

Without `timeouts`, or where neither they nor `terminals` are ever true, ends are found by comparing rows, see
`boundaries`. Without `next_observations`, nothing says where the last step of an episode led: it is dropped, or its own
observation repeated.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from macaw_jax.data.dataset import Episodes, next_observations, task_name
from macaw_jax.data.files import new_directory
from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.files import read_each, source_files
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import (
  DISCOUNT_ATTRIBUTE,
  HDF5_SUFFIXES,
  common_attributes,
  open_hdf5,
  write_hdf5,
)
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import Manifest

_COLLECTED_AT = "metadata/collected_at"


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from `.hdf5` or `.h5` files, one a task, or from all such files of one directory in the order of their names.

  Raises:
    DatasetError: a file is damaged, or contradicts itself, or does not say where its episodes end.
  """
  files = source_files(paths, HDF5_SUFFIXES, options.beside)
  return gather(read_each(files, lambda path: _read_file(path, options)), options)


def write(directory: Path, episodes_by_task: Sequence[Episodes], manifest: Manifest) -> None:
  """Makes `task_00.hdf5` for each task, with all six datasets and one more, `metadata/collected_at`.

  Raises:
    DatasetError: the directory exists or cannot be written.
  """
  with new_directory(Path(directory)) as partial:
    for index, episodes in enumerate(episodes_by_task):
      path = partial / f"{task_name(index, len(manifest.tasks))}.hdf5"
      write_hdf5(path, _arrays(episodes), {"": common_attributes(manifest, index)}, compression="gzip")


def _arrays(episodes: Episodes) -> dict[str, np.ndarray]:
  last_rows = np.cumsum(episodes.episode_length, dtype=np.int64) - 1
  terminal, timeout = np.zeros((2, len(episodes.reward)), np.bool_)
  terminal[last_rows], timeout[last_rows] = episodes.terminal, ~episodes.terminal
  return {
    "observations": episodes.observation,
    "actions": episodes.action,
    "rewards": episodes.reward,
    "terminals": terminal,
    "timeouts": timeout,
    "next_observations": next_observations(episodes),
    _COLLECTED_AT: episodes.collected_at,
  }


def _read_file(path: Path, options: ReadOptions) -> SourceTask:
  with open_hdf5(path, options) as source:
    next_key = "next_observations" if source.has("next_observations") else None
    table = source.table("observations", "actions", "rewards", next_key, "terminals")
    rows = Rows(source.name, table, next_key, table.terminal, complete=False)
    if source.has("timeouts"):
      ends = table.terminal | source.flags("timeouts", len(table.reward))
      rows = rows._replace(ends=ends, complete=bool(ends.any()))
    if rows.complete:
      num_episodes = int(rows.ends.sum()) + int(not rows.ends[-1])
      rows = rows._replace(collected_at=source.collected_at(_COLLECTED_AT, num_episodes))
    discount = source.discount(f"@{DISCOUNT_ATTRIBUTE}", source.number(DISCOUNT_ATTRIBUTE))
    return SourceTask((path,), rows, discount, source.parameters(), source.notes, source.references())
