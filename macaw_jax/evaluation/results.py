"""The file of a finished run, `results.json`: what it was, and one row a task; written and read here."""

import dataclasses
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


def results_document(
  *,
  algorithm: str,
  variant: str,
  family: str,
  seed: int,
  step: int,
  seconds: float | None,
  environment_steps: int | None,
  rows: Sequence[Row],
  config: Mapping[str, Any],
) -> dict[str, Any]:
  """The content of `results.json`, whose fields are those of `FinishedRun` beside these two.

  Args:
    algorithm: see `FinishedRun`; so are the others.
    variant: see `FinishedRun`.
    family: see `FinishedRun`.
    seed: see `FinishedRun`.
    step: updates that the parameters had.
    seconds: that the run took; None where it is not known.
    environment_steps: see `FinishedRun`.
    rows: see `FinishedRun`.
    config: see `FinishedRun`.
  """
  return {
    "format_version": FORMAT_VERSION,
    "algorithm": algorithm,
    "variant": variant,
    "family": family,
    "seed": seed,
    "step": step,
    "seconds": seconds,
    "environment_steps": environment_steps,
    "rows": rows_to_json(rows),
    "config": to_json(config),
  }


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
  if values.get("format_version") != FORMAT_VERSION:
    raise ResultError(
      f"{path}: format_version: expected {FORMAT_VERSION}, found {values.get('format_version')!r}; this release does "
      "not read runs of others"
    )
  if problems := _problems(values, _DOCUMENT):
    raise ResultError(*(f"{path}: {problem}" for problem in problems))
  fields = {field: values[field] for field in _DOCUMENT if field != "rows"}
  return FinishedRun(directory=directory, rows=rows_from_json(values["rows"], path), **fields)


def rows_to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
  """Rows as JSON has them, null where a number is not finite."""
  return [to_json(dataclasses.asdict(row)) for row in rows]


def rows_from_json(values: Sequence[Any], path: Path) -> tuple[Row, ...]:
  """The rows that `rows_to_json` wrote, NaN where a number was not finite.

  Args:
    values: the rows in JSON.
    path: of their file, named in errors.

  Raises:
    ResultError: one is no row, there is none of a test task, or rows of one protocol differ in their stages.
  """
  problems = [
    f"{path}: rows[{number}]{problem if problem.startswith(':') else f'.{problem}'}"
    for number, value in enumerate(values)
    for problem in _row_problems(value)
  ]
  if problems:
    raise ResultError(*problems)
  rows = tuple(Row(**{name: _from_json(name, value) for name, value in row.items()}) for row in values)
  if not any(row.split == "test" for row in rows):
    raise ResultError(f"{path}: rows: expected one of a test task")
  if len({(row.protocol, row.stages, row.stage_unit) for row in rows}) > len({row.protocol for row in rows}):
    raise ResultError(f"{path}: rows: expected the same stages in all rows of a protocol")
  return rows


class _Kind(NamedTuple):
  expected: str
  allows: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number_or_null(value: Any) -> bool:
  return value is None or isinstance(value, float) or _is_integer(value)


_TEXT = _Kind("a text", lambda value: isinstance(value, str))
_INTEGER = _Kind("an integer", _is_integer)
_OBJECT = _Kind("an object", lambda value: isinstance(value, dict))
_LIST = _Kind("a list", lambda value: isinstance(value, list))
_INTEGERS = _Kind(
  "a list of integers", lambda value: isinstance(value, list) and bool(value) and all(map(_is_integer, value))
)
_NUMBERS = _Kind("a list of numbers", lambda value: isinstance(value, list) and all(map(_is_number_or_null, value)))
_DOCUMENT = {
  "algorithm": _TEXT,
  "variant": _TEXT,
  "family": _TEXT,
  "seed": _INTEGER,
  "environment_steps": _Kind("an integer or null", lambda value: value is None or _is_integer(value)),
  "config": _OBJECT,
  "rows": _LIST,
}
_ROW = {
  "protocol": _TEXT,
  "split": _TEXT,
  "task_index": _INTEGER,
  "task": _OBJECT,
  "support": _INTEGER,
  "support_unit": _TEXT,
  "stages": _INTEGERS,
  "stage_unit": _TEXT,
  "episodes": _INTEGER,
  "returns": _NUMBERS,
  "stds": _NUMBERS,
  "scores": _Kind("a list of numbers or null", lambda value: value is None or _NUMBERS.allows(value)),
}


def _problems(values: Mapping[str, Any], kinds: Mapping[str, _Kind]) -> list[str]:
  """The keys that are missing or hold another kind of value."""
  return [f"{name} is missing" for name in kinds if name not in values] + [
    f"{name}: expected {kind.expected}, found {reprlib.repr(values[name])}"
    for name, kind in kinds.items()
    if name in values and not kind.allows(values[name])
  ]


def _row_problems(value: Any) -> list[str]:
  if not isinstance(value, dict):
    return [f": expected an object, found {reprlib.repr(value)}"]
  problems = _problems(value, _ROW) + [f"{name}: no field of a row" for name in value if name not in _ROW]
  return problems or [
    f"{name}: expected {len(value['stages'])} numbers, one a stage, found {len(value[name])}"
    for name in ("returns", "stds", "scores")
    if value[name] is not None and len(value[name]) != len(value["stages"])
  ]


def _from_json(name: str, value: Any) -> Any:
  if not isinstance(value, list):
    return value
  return tuple(value) if _ROW[name] is _INTEGERS else tuple(math.nan if each is None else float(each) for each in value)
