"""A dataset in numbers: of each task, of each entry of the observation, and over the collection.

Everything here takes episodes as they are, also where their values are not finite: quantiles and ranges are of the
finite values, and the others are counted. An infinite or missing reward makes its episode's return one of those.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.data.dataset import Episodes, examine_episodes, examine_files
from macaw_jax.data.manifest import MANIFEST_FILE, DatasetError, Manifest, examine_manifest, read_manifest

RETURN_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class TaskSummary(NamedTuple):
  """The data of one task."""

  transitions: int
  episodes: int
  shortest: int  # steps of an episode
  longest: int
  returns: np.ndarray  # [5]  undiscounted returns of episodes at `RETURN_QUANTILES`
  lowest: float  # of all entries of all observations
  highest: float
  non_finite: dict[str, int]  # values that are not finite, by array
  first: int  # environment steps of the collection when the first and the last episode began
  last: int
  thirds: np.ndarray  # [3]  share of transitions from each third of the collection


class EntrySummary(NamedTuple):
  """Entries of the observation over all tasks, each array `[O]`."""

  lowest: np.ndarray
  mean: np.ndarray
  std: np.ndarray
  highest: np.ndarray
  non_finite: np.ndarray


class DatasetFiles(NamedTuple):
  """A dataset as its directory says, without a look into the tasks' files."""

  manifest: Manifest
  size: int  # bytes of all its files


def find_datasets(directory: str | os.PathLike[str]) -> list[Path]:
  """The directory and those below it that hold a manifest or task files, in order; hidden ones are unfinished.

  Links are followed, and a directory that several names lead to is found once.
  """
  found = []
  seen = {os.path.realpath(directory)}
  for path, below, files in os.walk(directory, followlinks=True):
    names = sorted(name for name in below if not name.startswith("."))
    below.clear()
    for name in names:
      real = os.path.realpath(os.path.join(path, name))
      if real not in seen:
        below.append(name)
        seen.add(real)
    if MANIFEST_FILE in files or any(name.startswith("task_") and name.endswith(".npz") for name in files):
      found.append(Path(path))
  return found


def survey(directory: str | os.PathLike[str]) -> DatasetFiles:
  """Everything that is known of a dataset without reading its data.

  Raises:
    DatasetError: the manifest cannot be read, or files are missing or unknown.
  """
  manifest = read_manifest(directory)
  for problem in examine_files(directory, manifest):
    raise DatasetError(problem)
  names = [MANIFEST_FILE, *(entry.file for entry in manifest.tasks)]
  return DatasetFiles(manifest, sum((Path(directory) / name).stat().st_size for name in names))


def examine_dataset(directory: str | os.PathLike[str]) -> dict[str, list[str]]:
  """All that is wrong with a dataset: a list of lines for each of its files, empty where nothing is.

  Missing and unknown files stand under the directory's own name. Where the manifest cannot be used, only its own
  problems are known.
  """
  manifest, problems = examine_manifest(directory)
  found = {MANIFEST_FILE: problems}
  if manifest is None:
    return found
  for task, entry in enumerate(manifest.tasks):
    found[entry.file] = examine_episodes(directory, manifest, task)[1]
  of_directory = examine_files(directory, manifest)
  return found | {os.fspath(directory): of_directory} if of_directory else found


def read_leniently(directory: str | os.PathLike[str]) -> tuple[Manifest, list[Episodes], list[str]]:
  """The manifest, the episodes of all tasks, whatever their values are, and what is wrong with any of them.

  Raises:
    DatasetError: the manifest's fields cannot be used, or the episodes of a task cannot be told apart.
  """
  manifest, problems = examine_manifest(directory)
  if manifest is None:
    raise DatasetError(problems[0])
  found = []
  for task in range(len(manifest.tasks)):
    episodes, of_file = examine_episodes(directory, manifest, task)
    if episodes is None:
      raise DatasetError(of_file[0])
    found.append(episodes)
    problems += of_file
  return manifest, found, problems


def episode_returns(episodes: Episodes) -> np.ndarray:
  """Undiscounted returns, [E] float64."""
  starts = np.cumsum(episodes.episode_length, dtype=np.int64) - episodes.episode_length
  return np.add.reduceat(episodes.reward.astype(np.float64), starts)


def collection_end(episodes_by_task: Sequence[Episodes]) -> int:
  """Environment steps of the collection when the last stored episode ended."""
  return max(int(episodes.collected_at[-1]) + int(episodes.episode_length[-1]) for episodes in episodes_by_task)


def summarise_task(episodes: Episodes, end: int) -> TaskSummary:
  """The data of one task; `end` is the length of the collection in environment steps, which thirds are of."""
  returns = _finite(episode_returns(episodes))
  observations = _finite(episodes.observation)
  third = np.clip(3 * episodes.collected_at // max(end, 1), 0, 2)
  counts = {name: int(np.sum(~np.isfinite(array))) for name, array in episodes._asdict().items()}
  return TaskSummary(
    transitions=len(episodes.reward),
    episodes=len(episodes.episode_length),
    shortest=int(episodes.episode_length.min()),
    longest=int(episodes.episode_length.max()),
    returns=np.quantile(returns, RETURN_QUANTILES),
    lowest=float(observations.min()),
    highest=float(observations.max()),
    non_finite={name: count for name, count in counts.items() if count},
    first=int(episodes.collected_at[0]),
    last=int(episodes.collected_at[-1]),
    thirds=np.bincount(third, weights=episodes.episode_length, minlength=3) / len(episodes.reward),
  )


def summarise_entries(episodes_by_task: Sequence[Episodes]) -> EntrySummary:
  """Each entry of the observation over all transitions of all tasks."""
  found = []
  for index in range(episodes_by_task[0].observation.shape[1]):
    values = np.concatenate([episodes.observation[:, index] for episodes in episodes_by_task])
    finite = _finite(values).astype(np.float64)
    found.append((np.min(finite), np.mean(finite), np.std(finite), np.max(finite), np.sum(~np.isfinite(values))))
  return EntrySummary(*map(np.array, zip(*found, strict=True)))


def running_median(values: np.ndarray, window: int) -> np.ndarray:
  """The median of the `window` values around each, fewer at the ends; `[E]` from `[E]`."""
  reach = window // 2
  return np.array([np.median(values[max(0, index - reach) : index + reach + 1]) for index in range(len(values))])


def quantiles_over_collection(
  steps: np.ndarray, returns: np.ndarray, quantiles: Sequence[float], parts: int
) -> tuple[np.ndarray, np.ndarray]:
  """Quantiles of the returns in each part of the collection, parts of equally many episodes.

  Args:
    steps: `[E]` environment steps when the episodes began, of all tasks.
    returns: `[E]`.
    quantiles: from 0 to 1.
    parts: at most; no more than there are episodes.

  Returns:
    The median steps of each part `[parts]`, and the returns `[len(quantiles), parts]`.
  """
  order = np.argsort(steps, kind="stable")
  groups = np.array_split(order, min(parts, len(order)))
  centres = np.array([np.median(steps[group]) for group in groups])
  return centres, np.stack([np.quantile(returns[group], quantiles) for group in groups], axis=1)


def parameter_vectors(manifest: Manifest) -> np.ndarray | None:
  """The numbers that make each task, [T, P]; None where there are none, or not equally many of each name."""
  tasks = [{name: _flat(value) for name, value in sorted(entry.parameters.items())} for entry in manifest.tasks]
  shapes = [[(name, len(values)) for name, values in task.items()] for task in tasks]
  if any(shape != shapes[0] for shape in shapes) or not sum(size for _, size in shapes[0]):
    return None
  return np.array([[number for values in task.values() for number in values] for task in tasks], np.float64)


def _flat(value: Any) -> list[float]:
  return [number for item in value for number in _flat(item)] if isinstance(value, list | tuple) else [value]


def _finite(values: np.ndarray) -> np.ndarray:
  """The finite ones; one NaN where there are none."""
  finite = values[np.isfinite(values)]
  return finite if len(finite) else np.full(1, np.nan)
