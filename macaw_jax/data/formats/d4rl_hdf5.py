"""HDF5 files in the layout of D4RL: one file a task.

Datasets of N rows, forwards in time: `observations`, `actions`, `rewards`, `terminals` (the task ended the episode),
`timeouts` (the time limit did) and `next_observations`. The last two are missing from some files; other keys, as
`infos` and `metadata`, are not read.

Without `timeouts`, an episode ends where the next observation is not the observation below it, or, without those
either, after `horizon` steps. Without `next_observations`, nothing says where the last step of an episode led:
where the time limit ended it, that step is dropped and its observation becomes the final one; where the task did, the
step is kept and its own observation stands in for the final one, from which nothing is ever bootstrapped. Both are
noted.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from macaw_jax.data.dataset import Episodes, next_observations, task_name
from macaw_jax.data.files import new_directory
from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.files import source_files
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import (
  DISCOUNT_ATTRIBUTE,
  HDF5_SUFFIXES,
  Hdf5Reader,
  common_attributes,
  open_hdf5,
  write_hdf5,
)
from macaw_jax.data.formats.table import Table, follows, make_episodes
from macaw_jax.data.manifest import DatasetError, Manifest

_COLLECTED_AT = "metadata/collected_at"


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from `.hdf5` or `.h5` files, one a task, or from all such files of one directory in the order of their names.

  Raises:
    DatasetError: a file is damaged, or contradicts itself, or does not say where its episodes end.
  """
  return gather((_read_file(path, options) for path in source_files(paths, HDF5_SUFFIXES)), options)


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
  with open_hdf5(path) as source:
    episodes, note = _read_task(source, options)
    discount = source.discount(f"@{DISCOUNT_ATTRIBUTE}", source.number(DISCOUNT_ATTRIBUTE), options)
    parameters, references = source.parameters(), source.references()
    return SourceTask(source.name, (path,), episodes, discount, parameters, note, references)


def _read_task(source: Hdf5Reader, options: ReadOptions) -> tuple[Episodes, str]:
  successor = "next_observations" if source.has("next_observations") else None
  table = source.table("observations", "actions", "rewards", successor, "terminals")
  timeout = source.flags("timeouts", len(table.reward)) if source.has("timeouts") else None
  if successor is None:
    return _without_next_observations(table, timeout, options, source.name)
  if timeout is None:
    last = table.terminal | np.append(~follows(table), True)
  else:
    last = table.terminal | timeout
    source.check_follows(successor, table, last)
  last[-1] = True
  return make_episodes(table, last, source.collected_at(_COLLECTED_AT, int(last.sum()))), ""


def _without_next_observations(
  table: Table, timeout: np.ndarray | None, options: ReadOptions, where: str
) -> tuple[Episodes, str]:
  rows = len(table.reward)
  if timeout is not None:
    last = table.terminal | timeout
  elif options.horizon is not None:
    last = _every(options.horizon, table.terminal)
  else:
    raise DatasetError(f"{where}: neither 'timeouts' nor 'next_observations' is there; expected a horizon to cut at")
  last[-1] = True
  dropped = last & ~table.terminal
  if dropped.all():
    raise DatasetError(f"{where}: expected episodes of more than one step, as 'next_observations' is missing")
  # Within an episode the observation below is the next one; beyond the end of one that the task ended, its own.
  below = np.append(np.arange(1, rows), rows - 1)
  successor = table.observation[np.where(last, np.arange(rows), below)]
  kept = ~dropped
  ends = (table.terminal | np.append(dropped[1:], False))[kept]
  note = (
    f"no next observations: dropped the last step of {int(dropped.sum())} episodes that the time limit ended, and "
    f"repeated the last observation of {int((last & table.terminal).sum())} that the task ended"
  )
  table = Table(*(array[kept] for array in table._replace(next_observation=successor)))
  return make_episodes(table, ends), note


def _every(horizon: int, terminal: np.ndarray) -> np.ndarray:
  """Last rows of episodes that end at a terminal row or after `horizon` steps."""
  starts = np.append(0, np.flatnonzero(terminal) + 1)  # of the parts between terminal rows
  rows = np.arange(1, len(terminal) + 1)
  return terminal | ((rows - starts[np.searchsorted(starts, rows - 1, side="right") - 1]) % horizon == 0)
