"""Datasets as files and as arrays.

A dataset is a directory: one uncompressed `.npz` a task and `manifest.json`. A task's file holds whole episodes in
the order of collection, forwards in time, and nothing that follows from something else in it: next observations and
Monte-Carlo returns are computed on load. Everything is checked before anything is returned.
"""

import dataclasses
import itertools
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import chex
import numpy as np

from macaw_jax.data.files import new_directory, sha256
from macaw_jax.data.manifest import (
  MANIFEST_FILE,
  DatasetError,
  Manifest,
  TaskEntry,
  check_manifest,
  read_manifest,
  write_manifest,
)

Quality = Literal["all", "start", "middle", "end"]


class Episodes(NamedTuple):
  """Episodes of one task, as a file stores them: N transitions of E episodes, in the order of collection."""

  observation: np.ndarray  # [N, O]  float32
  action: np.ndarray  # [N, A]  float32, in [-1, 1]
  reward: np.ndarray  # [N]  float32
  episode_length: np.ndarray  # [E]  int32, sums to N
  final_observation: np.ndarray  # [E, O]  float32, observation after the last action of the episode
  terminal: np.ndarray  # [E]  bool, true where the task ended the episode, false where the time limit did
  collected_at: np.ndarray  # [E]  int64, environment steps over all tasks when the episode began


class Dataset(NamedTuple):
  """Transitions of several tasks, ready to sample from.

  Tasks shorter than the longest are padded with zeros; `size` says how many rows are real. The observation that
  ends an episode is stored once an episode: row n of task t has `final_observation[t, episode_index[t, n]]`.

  A return bootstrapped at the end of an episode is `mc_return + final_discount V(final_observation)`: on an episode's
  last step `final_discount` is the discount itself, and it is zero throughout an episode that the task ended.
  """

  observation: chex.Array  # [T, N, O]
  action: chex.Array  # [T, N, A]
  reward: chex.Array  # [T, N]
  next_observation: chex.Array  # [T, N, O]
  terminal: chex.Array  # [T, N]  1.0 where the task ended the episode, else 0.0
  last: chex.Array  # [T, N]  1.0 on the last row of an episode, else 0.0; of the rows kept, if rows were skipped
  mc_return: chex.Array  # [T, N]  sum over the rest of the episode of discount^k reward
  final_discount: chex.Array  # [T, N]  discount^(steps to the end), or 0.0 if the task ended the episode
  episode_index: chex.Array  # [T, N]  int32 row of `final_observation`
  final_observation: chex.Array  # [T, E, O]
  size: chex.Array  # [T]  int32, real rows


# Letters name sizes: N transitions, E episodes, O observation, A action.
_LAYOUT: dict[str, tuple[str, type]] = {
  "observation": ("NO", np.float32),
  "action": ("NA", np.float32),
  "reward": ("N", np.float32),
  "episode_length": ("E", np.int32),
  "final_observation": ("EO", np.float32),
  "terminal": ("E", np.bool_),
  "collected_at": ("E", np.int64),
}


def write_episodes(
  directory: str | os.PathLike[str], episodes_by_task: Sequence[Episodes], manifest: Manifest
) -> Manifest:
  """Writes a dataset and returns its manifest with the files' names, hashes and sizes filled in.

  All is checked first, then written beside `directory` under another name, flushed to disk and renamed: under its
  own name a dataset is always whole.

  Args:
    directory: where the dataset will be; must not exist yet.
    episodes_by_task: one `Episodes` for each of `manifest.tasks`, in that order.
    manifest: everything but `file`, `sha256`, `num_transitions`, `num_episodes` of its tasks.

  Raises:
    DatasetError: `directory` exists, the data are not what the manifest says, or the disk refuses.
  """
  directory = Path(directory)
  if len(episodes_by_task) != len(manifest.tasks):
    raise DatasetError(
      f"{directory}: expected episodes of the manifest's {len(manifest.tasks)} tasks, got {len(episodes_by_task)}"
    )
  entries = [
    dataclasses.replace(
      entry,
      file=f"{task_name(index, len(manifest.tasks))}.npz",
      sha256="0" * 64,  # known once the file is written
      num_transitions=len(episodes.reward),
      num_episodes=len(episodes.episode_length),
    )
    for index, (entry, episodes) in enumerate(zip(manifest.tasks, episodes_by_task, strict=True))
  ]
  manifest = check_manifest(dataclasses.replace(manifest, tasks=tuple(entries)), directory / MANIFEST_FILE)
  for entry, episodes in zip(entries, episodes_by_task, strict=True):
    for problem in itertools.chain(_layout_problems(episodes, manifest, entry), _value_problems(episodes, manifest)):
      raise DatasetError(f"{directory / entry.file}: {problem}")

  with new_directory(directory) as partial:
    for index, episodes in enumerate(episodes_by_task):
      path = partial / entries[index].file
      np.savez(path, **Episodes(*map(np.ascontiguousarray, episodes))._asdict())
      entries[index] = dataclasses.replace(entries[index], sha256=sha256(path))
    manifest = dataclasses.replace(manifest, tasks=tuple(entries))
    write_manifest(partial, manifest)
  return manifest


def task_name(index: int, num_tasks: int) -> str:
  """The name of a task's file without its ending: `task_07`, in the order of the tasks for any number of them."""
  return f"task_{index:0{max(2, len(str(num_tasks - 1)))}d}"


def read_episodes(directory: str | os.PathLike[str], manifest: Manifest, task: int) -> Episodes:
  """The checked episodes of one task.

  Raises:
    DatasetError: the file is missing, was changed since it was written, or does not hold what it should.
  """
  episodes, problems = examine_episodes(directory, manifest, task)
  if episodes is None or problems:
    raise DatasetError(problems[0])
  return episodes


def examine_episodes(
  directory: str | os.PathLike[str], manifest: Manifest, task: int
) -> tuple[Episodes | None, list[str]]:
  """The episodes of one task even where their values are wrong, and all that is wrong with the file, one line each.

  None stands for episodes that cannot be told apart: no archive, arrays of another shape or type than the manifest
  says, or lengths that do not add up. Values may be anything: not finite, or out of their bounds.

  Raises:
    DatasetError: the manifest has no such task.
  """
  if not 0 <= task < len(manifest.tasks):
    raise DatasetError(f"{directory}: expected a task index from 0 to {len(manifest.tasks) - 1}, got {task}")
  entry = manifest.tasks[task]
  path = Path(directory) / entry.file
  try:
    found = sha256(path)
  except OSError as error:
    return None, [f"{path}: cannot be read: {error}"]
  problems = []
  if found != entry.sha256:
    problems.append(
      f"{path}: expected SHA-256 {entry.sha256}, as the manifest says, got {found}: "
      "the file was cut or changed after it was written"
    )
  arrays, of_archive = _read_archive(path)
  if of_archive:
    return None, problems + of_archive
  episodes = Episodes(**arrays)
  of_layout = list(_layout_problems(episodes, manifest, entry))
  of_values = [] if of_layout else list(_value_problems(episodes, manifest))
  problems += [f"{path}: {problem}" for problem in of_layout + of_values]
  usable = not of_layout and bool((episodes.episode_length >= 1).all()) and _total(episodes) == len(episodes.reward)
  return (episodes if usable else None), problems


def examine_files(directory: str | os.PathLike[str], manifest: Manifest) -> list[str]:
  """A line if the directory lacks files of the manifest or holds others."""
  present = {path.name for path in Path(directory).glob("*.npz")}
  expected = {entry.file for entry in manifest.tasks}
  if present == expected:
    return []
  return [
    f"{directory}: expected the {len(expected)} task files of the manifest; "
    f"missing {sorted(expected - present)}, unknown {sorted(present - expected)}"
  ]


def load_dataset(
  directory: str | os.PathLike[str],
  *,
  tasks: Sequence[int],
  quality: Quality = "all",
  transitions_per_task: int | None = None,
  skip: int = 1,
) -> Dataset:
  """The checked transitions of some tasks, as float32 numpy arrays with leading axes `[T, N]`.

  Behaviour improves while a collector learns, so the part of a collection is a quality. A part is the fewest whole
  episodes with `transitions_per_task` transitions: the first, the last, or those around the middle (at a quarter of the
  collection in the released MACAW code).

  Args:
    directory: a dataset that `write_episodes` made.
    tasks: indices of tasks in the manifest; the dataset has them in this order.
    quality: "all", or the part of the collection: "start", "middle" or "end".
    transitions_per_task: size of that part, counted before `skip`; None with "all", and only then.
    skip: keep every skip-th transition of that part, from its first. Returns and discounts are those of the whole
      episode, and `next_observation` is the true successor, whatever is kept.

  Raises:
    DatasetError: always this, whatever is wrong with the files or the request.
  """
  manifest = read_manifest(directory)
  _check_request(directory, manifest, tasks, quality, transitions_per_task, skip)
  for problem in examine_files(directory, manifest):
    raise DatasetError(problem)

  def part(task: int) -> Episodes:
    where = str(Path(directory) / manifest.tasks[task].file)
    return _select(read_episodes(directory, manifest, task), quality, transitions_per_task, where)

  return dataset_of(map(part, tasks), manifest.discount, skip)


def dataset_of(episodes_by_task: Iterable[Episodes], discount: float, skip: int = 1) -> Dataset:
  """Episodes as transitions to sample from, with all that follows from them: float32 numpy arrays `[T, N]`.

  Args:
    episodes_by_task: one `Episodes` for each task; read one by one, so that not all need be in memory.
    discount: gamma of the returns.
    skip: keep every skip-th transition, as in `load_dataset`.
  """
  tables = [_table(episodes, discount, skip) for episodes in episodes_by_task]
  size = np.array([len(table["reward"]) for table in tables], np.int32)
  return Dataset(**{name: _stack([table.pop(name) for table in tables]) for name in list(tables[0])}, size=size)


def discounted_returns(reward: np.ndarray, episode_length: np.ndarray, discount: float) -> np.ndarray:
  """Monte-Carlo returns `[N]` float64 of rewards `[N]` in consecutive episodes of lengths `[E]`, which sum to N.

  R_t = r_t + discount R_{t+1}; nothing is bootstrapped.
  """
  returns = np.asarray(reward, np.float64).copy()
  last_rows = np.cumsum(episode_length, dtype=np.int64) - 1
  # One step backwards in all episodes at once.
  for step in range(1, int(np.max(episode_length))):
    rows = last_rows[episode_length > step] - step
    returns[rows] += discount * returns[rows + 1]
  return returns


def next_observations(episodes: Episodes) -> np.ndarray:
  """The observation after each transition: `[N, O]` float32."""
  following = np.concatenate([episodes.observation[1:], episodes.final_observation[-1:]])
  following[np.cumsum(episodes.episode_length, dtype=np.int64) - 1] = episodes.final_observation
  return following


def take_episodes(episodes: Episodes, kept: np.ndarray) -> Episodes:
  """The episodes of a task with these indices, in ascending order."""
  length = episodes.episode_length
  rows = np.isin(np.repeat(np.arange(len(length)), length), kept)
  return Episodes(
    **{name: getattr(episodes, name)[rows if axes[0] == "N" else kept] for name, (axes, _) in _LAYOUT.items()}
  )


def first_at(array: np.ndarray, wrong: np.ndarray) -> str:
  """The first value where `wrong` is true, and its place, for a message: `1.5 in row 7, column 2`."""
  place = np.unravel_index(np.argmax(wrong), wrong.shape)
  names = ("row", "column")[: len(place)]
  return f"{array[place]} in " + ", ".join(f"{name} {index}" for name, index in zip(names, place, strict=True))


def _check_request(
  directory: str | os.PathLike[str],
  manifest: Manifest,
  tasks: Sequence[int],
  quality: str,
  transitions_per_task: int | None,
  skip: int,
) -> None:
  def is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)

  size, part = transitions_per_task, (quality, transitions_per_task)
  unknown = [task for task in tasks if not (is_integer(task, 0) and task < len(manifest.tasks))]
  for holds, argument, expected, value in (
    (not unknown, "tasks", f"indices from 0 to {len(manifest.tasks) - 1}", next(iter(unknown), None)),
    (len(tasks) > 0 and len(set(tasks)) == len(tasks), "tasks", "at least one task index, and each once", tasks),
    (quality in get_args(Quality), "quality", f"one of {get_args(Quality)}", quality),
    ((quality == "all") == (size is None), "transitions_per_task", 'None with quality "all", and only then', part),
    (size is None or is_integer(size, 1), "transitions_per_task", "an integer of at least 1", size),
    (is_integer(skip, 1), "skip", "an integer of at least 1", skip),
  ):
    if not holds:
      raise DatasetError(f"{directory}: {argument}: expected {expected}, got {value!r}")


def _select(episodes: Episodes, quality: Quality, transitions: int | None, where: str) -> Episodes:
  """The whole episodes of the part that is wanted."""
  if transitions is None:
    return episodes
  ends = np.cumsum(episodes.episode_length, dtype=np.int64)
  total = int(ends[-1])
  if total < transitions:
    raise DatasetError(f"{where}: key 'reward': expected {transitions} transitions or more, got {total}")
  first_row = {"start": 0, "middle": (total - transitions) // 2, "end": total - transitions}[quality]
  first = int(np.searchsorted(ends, first_row, side="right"))  # the episode that holds first_row
  end_row = total if quality == "end" else ends[first] - episodes.episode_length[first] + transitions
  stop = int(np.searchsorted(ends, end_row, side="left")) + 1
  return take_episodes(episodes, np.arange(first, stop))


def _table(episodes: Episodes, discount: float, skip: int) -> dict[str, np.ndarray]:
  """Rows of one task: every field of `Dataset` but `size`, without the axis of tasks."""
  ends = np.cumsum(episodes.episode_length, dtype=np.int64)
  episode_index = np.repeat(np.arange(len(ends), dtype=np.int32), episodes.episode_length)
  returns = discounted_returns(episodes.reward, episodes.episode_length, discount)
  rows = np.arange(0, len(episodes.reward), skip)
  episode_index = episode_index[rows]
  steps_left = ends[episode_index] - rows
  ends_episode = steps_left == 1
  terminal = episodes.terminal[episode_index]
  return {
    "observation": episodes.observation[rows],
    "action": episodes.action[rows],
    "reward": episodes.reward[rows],
    "next_observation": next_observations(episodes)[rows],
    "terminal": (ends_episode & terminal).astype(np.float32),
    "last": np.append(episode_index[1:] != episode_index[:-1], True).astype(np.float32),
    "mc_return": returns[rows].astype(np.float32),
    "final_discount": np.where(terminal, 0.0, np.float64(discount) ** steps_left).astype(np.float32),
    "episode_index": episode_index,
    "final_observation": episodes.final_observation,
  }


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
  """Arrays of unequal length, padded with zeros at the end: `[T, longest, ...]`."""
  stacked = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
  for index, array in enumerate(arrays):
    stacked[index, : len(array)] = array
  return stacked


def _problem(key: str, expected: str, got: Any) -> str:
  return f"key {key!r}: expected {expected}, got {got}"


def _total(episodes: Episodes) -> int:
  return int(episodes.episode_length.sum(dtype=np.int64))


def _layout_problems(episodes: Episodes, manifest: Manifest, entry: TaskEntry) -> Iterator[str]:
  """Arrays of another type or shape than the manifest says."""
  sizes = {
    "N": entry.num_transitions,
    "E": entry.num_episodes,
    "O": manifest.observation_size,
    "A": manifest.action_size,
  }
  for key, (axes, dtype) in _LAYOUT.items():
    array = getattr(episodes, key)
    shape = tuple(sizes[axis] for axis in axes)
    if not isinstance(array, np.ndarray):
      yield _problem(key, "a numpy array", type(array).__name__)
    elif array.dtype != dtype:
      yield _problem(key, np.dtype(dtype).name, array.dtype)
    elif array.shape != shape:
      yield _problem(key, f"shape {shape} as in the manifest", array.shape)


def _value_problems(episodes: Episodes, manifest: Manifest) -> Iterator[str]:
  """Values that cannot be, of arrays whose layout is right."""
  action, length, steps = episodes.action, episodes.episode_length, episodes.collected_at
  # A byte that is neither 0 nor 1 compares differently from one operation to the next.
  stored = episodes.terminal.view(np.uint8)
  floats = {key: getattr(episodes, key) for key, (_, dtype) in _LAYOUT.items() if dtype is np.float32}
  for key, expected, array, wrong in (
    *((key, "finite values", array, ~np.isfinite(array)) for key, array in floats.items()),
    ("action", "values in [-1, 1]", action, np.abs(action) > 1.0),
    ("terminal", "bytes 0 or 1", stored, stored > 1),
    (
      "episode_length",
      f"lengths from 1 to the horizon {manifest.horizon}",
      length,
      (length < 1) | (length > manifest.horizon),
    ),
    ("collected_at", "counts that start at 0 or above and never decrease", steps, steps < np.append(0, steps[:-1])),
  ):
    if wrong.any():
      yield _problem(key, expected, first_at(array, wrong))
  if _total(episodes) != len(episodes.reward):
    yield _problem("episode_length", f"lengths that sum to {len(episodes.reward)}", _total(episodes))


def _read_archive(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
  """The arrays of an `.npz` file, and what is wrong with it: each array on its own, where the archive can be opened.

  Headers are checked first: no declared size is believed, nothing is unpickled.
  """
  try:
    file_size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
      names = sorted(member.filename for member in members)
      expected = sorted(f"{key}.npy" for key in _LAYOUT)
      if names != expected:
        missing, unknown = sorted(set(expected) - set(names)), sorted(set(names) - set(expected))
        return {}, [f"{path}: expected the members {expected}; missing {missing}, unknown {unknown}"]
      arrays, problems = {}, []
      for member in members:
        key = member.filename[: -len(".npy")]
        try:
          arrays[key] = _read_member(archive, member, file_size)
        except DatasetError as error:
          problems.append(f"{path}: key {key!r}: {error}")
        except Exception as error:
          problems.append(f"{path}: key {key!r}: {_not_an_archive(error)}")
      return arrays, problems
  # Damaged bytes surface as half a dozen exception types of zipfile and numpy; for the reader they are one thing.
  except Exception as error:
    return {}, [f"{path}: {_not_an_archive(error)}"]


def _not_an_archive(error: Exception) -> str:
  return f"expected an uncompressed .npz archive, got {type(error).__name__}: {error}"


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file_size: int) -> np.ndarray:
  if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
    raise DatasetError("expected an uncompressed member")
  if member.file_size > file_size:
    raise DatasetError(f"declares {member.file_size} bytes in a file of {file_size}")
  with archive.open(member) as stream:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
      raise DatasetError(f"expected version 1.0 of the .npy format, got {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    axes, expected_dtype = _LAYOUT[member.filename[: -len(".npy")]]
    if dtype != expected_dtype:
      raise DatasetError(f"expected {np.dtype(expected_dtype).name}, got {dtype}")
    if len(shape) != len(axes) or fortran_order:
      raise DatasetError(f"expected {len(axes)} axes in row-major order, got shape {shape}")
    declared, stored = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if declared != stored:
      raise DatasetError(f"shape {shape} needs {declared} bytes, the file holds {stored}")
    return np.frombuffer(stream.read(), dtype).reshape(shape)
