"""From tasks that were read one by one to what a format returns."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.data.formats.boundaries import find_episodes
from macaw_jax.data.formats.contract import Imported, Note, ReadOptions
from macaw_jax.data.formats.parameters import as_the_family_names_them, read_task_parameters, task_parameters
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError
from macaw_jax.data.references import References


class SourceTask(NamedTuple):
  """One task as a source states it."""

  files: tuple[Path, ...]  # that were read for it
  rows: Rows
  discount: float | None
  parameters: Mapping[str, Any] = {}
  notes: Sequence[Note] = ()  # what was left out, filled in, cast or clipped
  references: References | None = None


def gather(tasks: Iterable[SourceTask], options: ReadOptions) -> Imported:
  """All tasks of a source, with the parameters of `options.tasks_file` where that is given.

  Raises:
    DatasetError: rows do not say where episodes end, tasks differ in sizes or discount, or their parameters are not
      numbers.
  """
  gathered: list[SourceTask] = []
  for task in tasks:
    gathered.append(task)
    first = gathered[0]
    expected, found = ((of.rows.table.observation.shape[1], of.rows.table.action.shape[1]) for of in (first, task))
    if found != expected:
      sizes = f"expected (observation, action) sizes {expected} as in {first.rows.name}, got {found}"
      raise DatasetError(f"{task.rows.name}: {sizes}")
    if task.discount != first.discount:
      where = f"of {first.rows.name}"
      raise DatasetError(f"{task.rows.name}: expected the discount {first.discount} {where}, got {task.discount}")
  # A file of several tasks is named once.
  files = list(dict.fromkeys(file for task in gathered for file in task.files))
  if options.tasks_file is None:
    parameters = [task_parameters(task.parameters, task.rows.name) for task in gathered]
  else:
    parameters, parameter_files = read_task_parameters(options.tasks_file, len(gathered), options)
    files += parameter_files
  parameters, of_parameters = as_the_family_names_them(parameters, options)
  found_episodes = find_episodes([task.rows for task in gathered], options)
  notes = [[*task.notes, *more] for task, (_, more) in zip(gathered, found_episodes, strict=True)]
  references = [task.references for task in gathered if task.references is not None]
  return Imported(
    episodes=[episodes for episodes, _ in found_episodes],
    parameters=parameters,
    discount=gathered[0].discount,
    files=tuple(files),
    notes=tuple(summarise(notes) + [note.text for note in of_parameters]),
    references=references if len(references) == len(gathered) else None,
  )


def summarise(notes: Sequence[Sequence[Note]]) -> list[str]:
  """A line for each text among the notes of tasks: the tasks, and the text with the sums of its counts."""
  tasks: dict[str, list[int]] = {}
  counts: dict[str, np.ndarray] = {}
  for index, of_task in enumerate(notes):
    for note in of_task:
      at = tasks.setdefault(note.text, [])
      if index not in at:
        at.append(index)
      counts[note.text] = counts.get(note.text, np.zeros(len(note.counts), int)) + np.array(note.counts, int)
  return [f"{_tasks(at)}: {text.format(*(f'{count:,}' for count in counts[text]))}" for text, at in tasks.items()]


def _tasks(indices: Sequence[int]) -> str:
  """`task 3`, or `tasks 0-4, 7`."""
  steps = np.flatnonzero(np.diff(indices) > 1)
  pieces = np.split(np.array(indices), steps + 1)
  spans = ", ".join(f"{piece[0]}-{piece[-1]}" if len(piece) > 1 else f"{piece[0]}" for piece in pieces)
  return f"task{'s' if len(indices) > 1 else ''} {spans}"
