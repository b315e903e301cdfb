"""From tasks that were read one by one to what a format returns."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.parameters import read_task_parameters, task_parameters
from macaw_jax.data.formats.table import check_lengths
from macaw_jax.data.manifest import DatasetError
from macaw_jax.data.references import References


class SourceTask(NamedTuple):
  """One task as a source states it."""

  name: str  # in messages
  files: tuple[Path, ...]  # that were read for it
  episodes: Episodes
  discount: float | None
  parameters: Mapping[str, Any] = {}
  note: str = ""  # what was left out or filled in
  references: References | None = None


def gather(tasks: Iterable[SourceTask], options: ReadOptions) -> Imported:
  """All tasks of a source, with the parameters of `options.tasks_file` where that is given.

  Raises:
    DatasetError: an episode is longer than the horizon, tasks differ in sizes or discount, or their parameters are
      not numbers.
  """
  gathered: list[SourceTask] = []
  for task in tasks:
    check_lengths(task.episodes, options, task.name)
    gathered.append(task)
    first = gathered[0]
    expected, found = ((of.episodes.observation.shape[1], of.episodes.action.shape[1]) for of in (first, task))
    if found != expected:
      sizes = f"expected (observation, action) sizes {expected} as in {first.name}, got {found}"
      raise DatasetError(f"{task.name}: {sizes}")
    if task.discount != first.discount:
      raise DatasetError(f"{task.name}: expected the discount {first.discount} of {first.name}, got {task.discount}")
  # A file of several tasks is named once.
  files = list(dict.fromkeys(file for task in gathered for file in task.files))
  if options.tasks_file is None:
    parameters = [task_parameters(task.parameters, task.name) for task in gathered]
  else:
    parameters, parameter_files = read_task_parameters(options.tasks_file, len(gathered))
    files += parameter_files
  references = [task.references for task in gathered if task.references is not None]
  return Imported(
    episodes=[task.episodes for task in gathered],
    parameters=parameters,
    discount=gathered[0].discount,
    files=tuple(files),
    notes=tuple(f"task {index}: {task.note}" for index, task in enumerate(gathered) if task.note),
    references=references if len(references) == len(gathered) else None,
  )
