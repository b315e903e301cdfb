"""The file of a finished run, `results.json`: what it was, and one row a task; written and read here."""

import dataclasses
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.rows import Row
from macaw_jax.json_files import read_json, to_json

RESULTS = "results.json"
METRICS = "metrics.jsonl"
FORMAT_VERSION = 2


class ResultError(ConfigurationError):
  """Finished runs that cannot be read, or not be compared."""


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """A run as its `results.json` describes it.

  Attributes:
    directory: of the run.
    algorithm: its name.
    variant: the variant of its configuration; "" where that has none.
    family: of the tasks.
    seed: of the run.
    config: its configuration.
    rows: of the last evaluation.
    environment_steps: that the run collected itself; None where they were not counted.
  """

  directory: Path
  algorithm: str
  variant: str
  family: str
  seed: int
  config: Mapping[str, Any]
  rows: tuple[Row, ...]
  environment_steps: int | None = None

  @property
  def test_rows(self) -> list[Row]:
    """The rows of the test tasks, in the order of the tasks."""
    return sorted((row for row in self.rows if row.split == "test"), key=lambda row: row.task_index)


def results_document(run: FinishedRun, *, step: int, seconds: float | None) -> dict[str, Any]:
  """The content of `results.json`: all of a run but its directory, which may be moved; null where no number is finite.

  Args:
    run: that has finished.
    step: updates that its parameters have had.
    seconds: that it took; None where that is not known.
  """
  fields = dataclasses.asdict(run)
  del fields["directory"]
  return to_json({"format_version": FORMAT_VERSION, "step": step, "seconds": seconds, **fields})


def read_run(directory: Path, name: str = RESULTS) -> FinishedRun:
  """A finished run from its directory.

  Args:
    directory: of the run.
    name: of the file; another than `results.json` has the same fields, and may have more.

  Raises:
    ResultError: the file is damaged, or of an earlier format; names the file and each key that is wrong.
    OSError: it cannot be read.
  """
  path = directory / name
  try:
    values = read_json(path, dict)
  except ValueError as error:
    raise ResultError(str(error)) from error
  try:
    return _read_run(directory, values)
  except ResultError as error:
    raise ResultError(*(f"{path}: {problem}" for problem in error.problems)) from error


def _read_run(directory: Path, values: Mapping[str, Any]) -> FinishedRun:
  if values.get("format_version") != FORMAT_VERSION:
    raise ResultError(
      f"format_version: expected {FORMAT_VERSION}, found {values.get('format_version')!r}; this release does not read "
      "runs of others"
    )
  run = FinishedRun(**_fields(FinishedRun, {**values, "directory": directory}, ""))
  if not run.test_rows:
    raise ResultError("rows: expected one of a test task")
  if len({(row.protocol, row.stages, row.stage_unit) for row in run.rows}) > len({row.protocol for row in run.rows}):
    raise ResultError("rows: expected the same stages in all rows of a protocol")
  return run


def _fields(kind: Any, values: Mapping[str, Any], place: str) -> dict[str, Any]:
  """The fields of a dataclass from an object of JSON, which may have more."""
  hints = get_type_hints(kind)
  optional = {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
  if missing := [name for name in hints if name not in values and name not in optional]:
    raise ResultError(*(f"{place}{name} is missing" for name in missing))
  return {name: _read(hint, values[name], f"{place}{name}") for name, hint in hints.items() if name in values}


def _without_empty_scores(row: Row) -> Row:
  """A row of a task without a scale as it is now: earlier releases gave it scores that were no numbers."""
  is_empty = row.scores is not None and np.isnan(row.scores).all() and np.isfinite(row.returns).all()
  return dataclasses.replace(row, scores=None) if row.references is None and is_empty else row


_NAMES = {str: "a text", int: "an integer", float: "a number", tuple: "a list", Mapping: "an object", Row: "an object"}
_IN_JSON: dict[Any, Any] = {float: (int, float), tuple: list, Mapping: dict, Row: dict}


def _read(hint: Any, value: Any, place: str) -> Any:
  """A value of JSON as the type that a field of a dataclass has."""
  kind, arguments = get_origin(hint) or hint, get_args(hint)
  if kind is UnionType:  # with None
    return None if value is None else _read(arguments[0], value, place)
  if kind is float and value is None:
    return math.nan
  if not isinstance(value, _IN_JSON.get(kind, kind)) or isinstance(value, bool):
    raise ResultError(f"{place}: expected {_NAMES[kind]}, found {reprlib.repr(value)}")
  if kind is tuple:
    return tuple(_read(arguments[0], each, f"{place}[{number}]") for number, each in enumerate(value))
  if kind is Row:
    fields = _fields(Row, value, f"{place}.")
    try:
      return _without_empty_scores(Row(**fields))
    except ValueError as error:
      raise ResultError(f"{place}.{error}") from error
  return float(value) if kind is float else value
