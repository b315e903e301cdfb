"""From what a format gave to a manifest, with which `write_episodes` makes a dataset like any other."""

import datetime
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from macaw_jax.data.files import sha256
from macaw_jax.data.formats.contract import Imported
from macaw_jax.data.inspection import episode_returns
from macaw_jax.data.manifest import DatasetError, Manifest, TaskEntry
from macaw_jax.data.references import GIVEN, OWN_EXTREMES, References

_USUAL_ACTION = 0.5  # some action of a policy that explores is larger, where bounds are [-1, 1]
_SMALL_ACTIONS = (
  "no action is beyond {:.3g}; if the bounds of the source's environment are not [-1, 1], import with "
  "--action_bound=<bound>"
)


def to_manifest(
  imported: Imported,
  *,
  family: str,
  train_tasks: Sequence[int],
  test_tasks: Sequence[int],
  discount: float | None = None,
  seed: int = 0,
  horizon: int | None = None,
  reference_returns: Sequence[Mapping[str, float]] | None = None,
  source: str,
  versions: Mapping[str, str] | None = None,
) -> Manifest:
  """A manifest for imported tasks; `behaviour` says where they come from: format, files and their SHA-256, notes.

  Args:
    imported: what a format's `read` returned.
    family: name of the task family.
    train_tasks: indices of tasks to train on.
    test_tasks: indices of tasks to test on.
    discount: None for that of the source.
    seed: of the collection, if there was one.
    horizon: most steps of an episode; None for the longest there is.
    reference_returns: "random" and "expert" undiscounted return of each task. None for those that the source states,
      or else the lowest and the highest episode return of the task's own data: scores then compare within this dataset
      alone. `references` of the manifest says which they are.
    source: name of the format, a key of `FORMATS`.
    versions: of packages; None for that of numpy.

  Raises:
    DatasetError: neither the source nor the caller states a discount, or there are not as many reference returns as
      tasks, or they are not finite, or a split names a task that is not there.
  """
  discount = imported.discount if discount is None else discount
  if discount is None:
    where = f"{imported.files[0]}: " if imported.files else ""
    raise DatasetError(f"{where}the source states no discount; expected --discount=<discount>")
  num_tasks = len(imported.episodes)
  if reference_returns is not None and len(reference_returns) != num_tasks:
    raise DatasetError(
      f"reference_returns: expected one pair for each of {num_tasks} tasks, got {len(reference_returns)}"
    )
  for flag, indices in (("train_tasks", train_tasks), ("test_tasks", test_tasks)):
    if wrong := [index for index in indices if not 0 <= index < num_tasks]:
      raise DatasetError(f"--{flag}: expected indices of tasks from 0 to {num_tasks - 1}, got {wrong[0]}")
  for index, pair in enumerate(reference_returns or ()):
    if not all(map(math.isfinite, pair.values())):
      raise DatasetError(f"reference_returns of task {index}: expected finite numbers, got {dict(pair)}")
  largest = max(float(np.abs(task.action).max()) for task in imported.episodes)
  references = _references(imported, reference_returns)
  first = imported.episodes[0]
  return Manifest(
    family=family,
    observation_size=first.observation.shape[1],
    action_size=first.action.shape[1],
    horizon=max(int(task.episode_length.max()) for task in imported.episodes) if horizon is None else horizon,
    discount=discount,
    seed=seed,
    train_tasks=tuple(train_tasks),
    test_tasks=tuple(test_tasks),
    tasks_shared_by_splits=bool(set(train_tasks) & set(test_tasks)),
    tasks=tuple(
      TaskEntry(parameters=parameters, reference_returns=dict(of_task.returns))
      for parameters, of_task in zip(imported.parameters, references, strict=True)
    ),
    references=dict(references[0].texts),
    behaviour={
      "source": source,
      "files": _digests(imported),
      "notes": [*imported.notes, *([_SMALL_ACTIONS.format(largest)] if largest < _USUAL_ACTION else [])],
    },
    versions=dict(versions) if versions is not None else {"numpy": np.__version__},
    git_commit=None,
    created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  )


def _references(imported: Imported, given: Sequence[Mapping[str, float]] | None) -> list[References]:
  """The references of each task, all with the same texts: as given, or else the source's, or else those of the data.

  References of a source whose tasks have different texts are not used: a manifest has one text for all tasks.
  """
  if given is not None:
    return [References(pair, GIVEN) for pair in given]
  if imported.references is not None and all(of.texts == imported.references[0].texts for of in imported.references):
    return imported.references
  extremes = [(own.min(), own.max()) for own in map(episode_returns, imported.episodes)]
  return [References({"random": float(low), "expert": float(high)}, OWN_EXTREMES) for low, high in extremes]


def _digests(imported: Imported) -> list[dict[str, Any]]:
  """Path within the source and SHA-256 of each file."""
  if not imported.files:
    return []
  root = os.path.commonpath([path.absolute().parent for path in imported.files])
  try:
    return [{"file": path.absolute().relative_to(root).as_posix(), "sha256": sha256(path)} for path in imported.files]
  except OSError as error:
    raise DatasetError(f"{error.filename}: cannot be read: {error}") from error
