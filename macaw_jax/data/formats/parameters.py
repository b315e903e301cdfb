"""Task parameters from files: numbers and nested lists of numbers by name, for each task."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.contract import Note, ReadOptions
from macaw_jax.data.formats.files import natural_key, source_files
from macaw_jax.data.formats.values import read_values
from macaw_jax.data.manifest import DatasetError

TaskParameters = dict[str, Any]
_PICKLES = (".pkl", ".pickle")


def read_task_parameters(path: Path, num_tasks: int, options: ReadOptions) -> tuple[list[TaskParameters], list[Path]]:
  """Parameters of each task, and the files they come from.

  The path is a file that `read_values` knows, of

  - a list of one dict for each task, or a dict of such dicts, in the order of the numbers in their keys;
  - a dict of lists or arrays, each with one entry for each task;
  - an array `[T]` or `[T, ...]`, whose name is `options.parameter`, or that of the one parameter which the task family
    has, if that is of its shape;

  or a directory with a pickle for each task, in the order of the numbers in their names, each a list of one dict.
  Only the names in `options.parameter` are kept where any are given.

  Raises:
    DatasetError: the files hold something else, or not `num_tasks` tasks.
  """
  if Path(path).is_dir():
    files = source_files([path], _PICKLES)
    tasks = [_only_one(read_values(file), file) for file in files]
  else:
    files = [Path(path)]
    tasks = _as_dicts(read_values(files[0]), files[0], options)
  if len(tasks) != num_tasks:
    raise DatasetError(f"{path}: expected parameters of {num_tasks} tasks, got {len(tasks)}")
  checked = [task_parameters(task, str(path)) for task in tasks]
  return [_kept(task, path, options) for task in checked], files


def task_parameters(task: Mapping[Any, Any], where: str) -> TaskParameters:
  """A dict with numbers and nested lists of numbers for values."""
  for key in task:
    if not isinstance(key, str):
      raise DatasetError(f"{where}: expected names of task parameters, got {key!r}")
  return {key: _plain(value, where, key) for key, value in task.items()}


def as_the_family_names_them(
  parameters: Sequence[TaskParameters], options: ReadOptions
) -> tuple[list[TaskParameters], list[Note]]:
  """The same under the name of the family's parameter, where both have one, of one shape; a note if names differ."""
  names = {name for task in parameters for name in task}
  family = dict(options.family_parameters or {})
  if not len(family) == len(names) == 1 or not all(parameters):
    return list(parameters), []
  ((name, shape),), (found,) = family.items(), names
  values = [_shaped(task[found], shape) for task in parameters]
  if any(np.shape(value) != shape for value in values):
    return list(parameters), []
  notes = [] if found == name else [Note(f"the task parameter {found!r} is stored under the family's name, {name!r}")]
  return [{name: value} for value in values], notes


def _only_one(content: Any, file: Path) -> Any:
  if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
    raise DatasetError(
      f"{file}: expected a list of one dict, as the file is that of one task, got {type(content).__name__}"
      + (f" of {len(content)}" if isinstance(content, list) else "")
    )
  return content[0]


def _as_dicts(content: Any, path: Path, options: ReadOptions) -> list[Mapping[Any, Any]]:
  content = content.tolist() if isinstance(content, np.ndarray) else content
  if isinstance(content, dict) and content and all(isinstance(task, dict) for task in content.values()):
    return [content[key] for key in sorted(content, key=lambda key: natural_key(str(key)))]
  if isinstance(content, dict):
    return _transposed(content, path)
  if isinstance(content, list | tuple) and content and all(isinstance(task, dict) for task in content):
    return list(content)
  if isinstance(content, list | tuple) and content and not any(isinstance(task, dict | str) for task in content):
    return [{_name_of(content[0], path, options): task} for task in content]
  raise DatasetError(
    f"{path}: expected a list of dicts, a dict of lists, or an array with a row for each task, got "
    f"{type(content).__name__}{_needed(options)}"
  )


def _transposed(columns: Mapping[Any, Any], path: Path) -> list[Mapping[Any, Any]]:
  """A dict for each task from a dict of lists."""
  values = {key: column.tolist() if isinstance(column, np.ndarray) else column for key, column in columns.items()}
  if not all(isinstance(column, list | tuple) for column in values.values()):
    raise DatasetError(f"{path}: expected a list or array under each name, with an entry for each task")
  lengths = {key: len(column) for key, column in values.items()}
  if len(set(lengths.values())) > 1:
    raise DatasetError(f"{path}: expected one number of tasks under all names, got {lengths}")
  return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _name_of(value: Any, path: Path, options: ReadOptions) -> str:
  if len(options.parameter) == 1:
    return options.parameter[0]
  family = dict(options.family_parameters or {})
  if len(family) == 1 and not options.parameter:
    ((name, shape),) = family.items()
    if np.shape(_shaped(value, shape)) == shape:
      return name
  raise DatasetError(
    f"{path}: expected names of the parameters, got an array without; --parameter=<name> names it{_needed(options)}"
  )


def _kept(task: TaskParameters, path: Path, options: ReadOptions) -> TaskParameters:
  missing = [name for name in options.parameter if name not in task]
  if missing:
    raise DatasetError(f"{path}: --parameter: {missing[0]!r} is not there; found {list(task)}{_needed(options)}")
  return {name: task[name] for name in options.parameter} if options.parameter else task


def _shaped(value: Any, shape: tuple[int, ...]) -> Any:
  """A list of one number as that number, where the family has a number."""
  return value[0] if shape == () and np.shape(value) == (1,) else value


def _needed(options: ReadOptions) -> str:
  """The parameters of the family, for a message."""
  if not options.family_parameters:
    return ""
  shapes = ", ".join(
    f"{name!r} ({f'shape {list(shape)}' if shape else 'a number'})" for name, shape in options.family_parameters.items()
  )
  return f"; the family needs {shapes}"


def _plain(value: Any, where: str, key: str) -> Any:
  value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
  if isinstance(value, list | tuple):
    return [_plain(item, where, key) for item in value]
  # A whole number may be larger than any float.
  if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
    raise DatasetError(f"{where}: key {key!r}: expected a finite number or a list of them, got {str(value)[:80]!r}")
  return value
