"""Own arrays as a dataset, by the very same checks as files of other layouts."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from macaw_jax.data.dataset import write_episodes
from macaw_jax.data.formats.contract import Autoreset, Imported, ReadOptions
from macaw_jax.data.formats.convert import to_manifest
from macaw_jax.data.formats.family import check_agreement, check_fit, for_family
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.report import report_import
from macaw_jax.data.formats.table import Rows, Source
from macaw_jax.data.manifest import DatasetError, Manifest

_NEEDED = ("observations", "actions", "rewards")
_OPTIONAL = ("next_observations", "terminals", "timeouts", "episode_lengths", "parameters")


def write_dataset(
  directory: str | os.PathLike[str],
  tasks: Sequence[Mapping[str, Any]],
  *,
  family: str,
  train_tasks: Sequence[int],
  test_tasks: Sequence[int],
  discount: float,
  reference_returns: Sequence[Mapping[str, float]] | None = None,
  horizon: int | None = None,
  autoreset: Autoreset | None = None,
  action_bound: float = 1.0,
  seed: int = 0,
) -> Manifest:
  """Makes a dataset directory of arrays, says what it holds and what was cast, clipped or undone; its manifest.

  Each task is a dict of arrays with N rows, whole episodes one after the other, forwards in time:

    observations       [N, O]
    actions            [N, A]  within the bounds of `action_bound`
    rewards            [N] or [N, 1]
    next_observations  [N, O]  after each action. Without them, the last step of an episode that the time limit ended is
                       dropped, and the last observation of one that the task ended is repeated
    terminals          [N]  true where the task ended the episode; nowhere if not given
    timeouts           [N]  true where the time limit did
    episode_lengths    [E] in place of `timeouts`
    parameters         the numbers that make the task by name, such as {"goal": [0.3, 0.7]}; lists may be nested

  With neither `timeouts` nor `episode_lengths`, episodes are found by comparing rows. Messages name flags of
  `python -m experiments.data convert`: those that concern arrays are arguments here.

  Args:
    directory: where the dataset will be; must not exist yet.
    tasks: the arrays of each task.
    family: name of the task family.
    train_tasks: indices of tasks to train on.
    test_tasks: indices of tasks to test on.
    discount: of the returns.
    reference_returns: "random" and "expert" undiscounted return of each task, those of score 0 and 100; None for the
      lowest and the highest episode return of the task's own data.
    horizon: most steps of an episode; None for that of the family, or else the longest there is.
    autoreset: when the environments were reset, see `ReadOptions`; None to find out.
    action_bound: the largest action; actions are divided by it.
    seed: of the collection, if there was one.

  Raises:
    DatasetError: arrays contradict each other, do not say where episodes end, or contradict the family; the directory
      exists; the disk refuses.
  """
  options = ReadOptions(horizon=horizon, autoreset=autoreset, action_bound=action_bound, discount=discount)
  options = for_family(options, family)
  imported = read_arrays(tasks, options)
  manifest = to_manifest(
    imported,
    family=family,
    train_tasks=train_tasks,
    test_tasks=test_tasks,
    seed=seed,
    horizon=options.horizon,
    reference_returns=reference_returns,
    source="arrays",
  )
  why_not = check_fit(manifest)
  check_agreement(manifest, imported.episodes)
  manifest = write_episodes(directory, imported.episodes, manifest)
  report_import(directory, imported.episodes, manifest, why_not)
  return manifest


def read_arrays(tasks: Sequence[Mapping[str, Any]], options: ReadOptions) -> Imported:
  """Tasks from dicts of arrays, as `write_dataset` takes them.

  Raises:
    DatasetError: see `write_dataset`.
  """
  if not tasks:
    raise DatasetError("tasks: expected at least one, got none")
  with_lengths = [index for index, task in enumerate(tasks) if "episode_lengths" in task]
  if with_lengths:
    if len(with_lengths) < len(tasks):
      raise DatasetError(f"episode_lengths: expected those of all {len(tasks)} tasks, got those of {len(with_lengths)}")
    lengths = [np.asarray(task["episode_lengths"]) for task in tasks]
    for index, of_task in enumerate(lengths):
      if of_task.ndim != 1 or of_task.dtype.kind not in "iu" or not of_task.size:
        raise DatasetError(f"task {index}: key 'episode_lengths': expected a list of whole numbers")
    options = dataclasses.replace(options, episode_lengths=[of_task.tolist() for of_task in lengths])
  return gather((_read_task(index, task, options) for index, task in enumerate(tasks)), options)


def _read_task(index: int, task: Mapping[str, Any], options: ReadOptions) -> SourceTask:
  name = f"task {index}"
  unknown = [key for key in task if key not in (*_NEEDED, *_OPTIONAL)]
  if unknown:
    raise DatasetError(f"{name}: key {unknown[0]!r} is unknown; expected some of {[*_NEEDED, *_OPTIONAL]}")
  for key in _NEEDED:
    if key not in task:
      raise DatasetError(f"{name}: key {key!r} is missing; found {list(task)}")
  num_rows = len(np.asarray(task["rewards"])) if np.ndim(task["rewards"]) else 0

  def array(key: str) -> np.ndarray:
    return np.asarray(task[key]) if key in task else np.zeros(num_rows, np.bool_)

  source = Source(name, array, options)
  next_key = "next_observations" if "next_observations" in task else None
  table = source.table("observations", "actions", "rewards", next_key, "terminals")
  ends = table.terminal | source.flags("timeouts", len(table.reward))
  rows = Rows(name, table, next_key, ends, complete="timeouts" in task and bool(ends.any()))
  return SourceTask((), rows, options.discount, task.get("parameters", {}), source.notes)
