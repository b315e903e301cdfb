"""Trajectories in `.npy` files by training step, as the data of FOCAL, CORRO on them, and UNICORN.

A task is a directory `goal_idx<n>`. Each file `trj_evalsample<k>_step<s>.npy` in it is one episode, the k-th of the
policy of training step s: an object array `[H, 4]` with rows (observation, action, reward, next observation).
Files `trj_eval<k>_step<s>.npy` are episodes of the policy's mode; they are read where there are no samples.

Files do not say why an episode ended. The released loaders mark the last step of every episode as terminal; here none
is, since they end by the time limit: nothing distinguishes a fall. Episodes stand in the order of the training step,
which is their `collected_at`, then of k.

Object arrays are pickles without checksums: see `unpickle`. A file that is not there cannot be missed.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.contract import Imported, Note, ReadOptions
from macaw_jax.data.formats.files import given_paths, list_directory, natural_order, read_bytes
from macaw_jax.data.formats.follows import check_follows
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import MAX_COMPRESSION
from macaw_jax.data.formats.npy import parse_npy
from macaw_jax.data.formats.table import LARGEST_WHOLE, Rows, Source, Table
from macaw_jax.data.manifest import DatasetError

_COLUMNS = ("observation", "action", "reward", "next_observation")
_LAYOUT = f"an object array of shape [steps, {len(_COLUMNS)}]"


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from directories `goal_idx<n>`, or from all of them in one directory, in the order of their numbers.

  Raises:
    DatasetError: a file is damaged, or its steps do not follow each other.
  """
  directories = _task_directories(given_paths(paths))
  return gather((_read_task(directory, options) for directory in directories), options)


def _task_directories(paths: list[Path]) -> list[Path]:
  for path in paths:
    if not path.is_dir():
      raise DatasetError(f"{path}: expected a directory, found {'a file' if path.exists() else 'nothing'}")
  if len(paths) == 1 and not re.fullmatch(r"goal_idx[0-9]+", paths[0].name):
    below = [path for path in list_directory(paths[0]) if re.fullmatch(r"goal_idx[0-9]+", path.name) and path.is_dir()]
    if not below:
      raise DatasetError(f"{paths[0]}: expected directories goal_idx<n>, found none")
    return natural_order(below)
  return paths


def _read_task(directory: Path, options: ReadOptions) -> SourceTask:
  found: dict[str, list[tuple[int, int, Path]]] = {"evalsample": [], "eval": []}
  for path in list_directory(directory):
    match = re.fullmatch(r"trj_(evalsample|eval)([0-9]+)_step([0-9]{1,18})\.npy", path.name)
    if match:
      found[match[1]].append((int(match[3]), int(match[2]), path))
  files = sorted(found["evalsample"] or found["eval"])
  if not files:
    raise DatasetError(f"{directory}: expected files trj_evalsample<k>_step<s>.npy, found none")
  tables: list[Table] = []
  notes: list[Note] = []
  for _, _, path in files:
    table, of_file = _read_episode(path, options, *tables[:1])
    tables.append(table)
    notes += of_file
  steps = np.array([len(table.reward) for table in tables])
  last = np.zeros(steps.sum(), np.bool_)
  last[np.cumsum(steps) - 1] = True
  rows = Rows(
    name=str(directory),
    table=Table(*(np.concatenate(arrays) for arrays in zip(*tables, strict=True))),
    next_key=_COLUMNS[-1],
    ends=last,
    complete=True,
    collected_at=np.array([step for step, _, _ in files], np.int64),
  )
  return SourceTask(tuple(path for _, _, path in files), rows, options.discount, notes=notes)


def _read_episode(path: Path, options: ReadOptions, first: Table | None = None) -> tuple[Table, list[Note]]:
  objects = parse_npy(read_bytes(path), str(path))
  if objects.dtype != object or objects.ndim != 2 or objects.shape[1] != len(_COLUMNS) or not len(objects):
    kind = "" if objects.dtype == object else f"{objects.dtype} of "
    raise DatasetError(f"{path}: expected {_LAYOUT}, got {kind}{objects.shape}")
  sizes = {} if first is None else {"observation": first.observation.shape[1], "action": first.action.shape[1]}
  sizes["reward"] = 1
  nowhere = np.zeros(len(objects), np.bool_)

  def array(key: str) -> np.ndarray:
    return nowhere if key == "terminal" else _stack(source, key, objects[:, _COLUMNS.index(key)], sizes.get(key), path)

  source = Source(str(path), array, options)
  table = source.table(*_COLUMNS, "terminal")
  check_follows(Rows(str(path), table, _COLUMNS[-1], nowhere, complete=True), nowhere)
  return table, source.notes


def _stack(source: Source, key: str, values: np.ndarray, size: int | None, path: Path) -> np.ndarray:
  """Vectors (or numbers) of all steps as one array."""
  rows = [_vector(source, key, row, value) for row, value in enumerate(values)]
  size = len(rows[0]) if size is None else size
  for row, vector in enumerate(rows):
    if len(vector) != size:
      raise source.fault(key, f"{size} numbers a step", f"{len(vector)} in row {row}")
  # Many rows may refer to one array of the file: together they may need more than the file could hold.
  if size * len(rows) > MAX_COMPRESSION * path.stat().st_size:
    raise source.fault(key, "data that fit the size of the file", f"{len(rows)} steps of {size} numbers")
  return np.stack(rows)


def _vector(source: Source, key: str, row: int, value: Any) -> np.ndarray:
  """One step's numbers. A state that was never stepped may be of whole numbers, and a reward too."""
  is_number = isinstance(value, int | float | np.number | np.ndarray) and not isinstance(value, bool)
  array = np.asarray(value) if is_number else None
  if array is None or array.dtype.kind not in "fiu" or array.dtype.itemsize > 8 or array.ndim > 1:
    found = type(value).__name__ if array is None else f"{array.dtype} of shape {array.shape}"
    raise source.fault(key, "numbers of at most 64 bits", f"{found} in row {row}")
  if array.dtype.kind != "f" and (np.abs(array.astype(np.float64)) > LARGEST_WHOLE).any():
    raise source.fault(key, f"whole numbers up to {LARGEST_WHOLE:,}", f"{array} in row {row}")
  return array.reshape(-1)
