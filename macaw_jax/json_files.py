"""JSON as this package writes it: strict, with null where a number is not finite; whole files, and files of lines."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from macaw_jax.durable import write_durably
from macaw_jax.errors import ConfigurationError

Value = TypeVar("Value", dict[str, Any], list[Any])


def to_json(value: Any) -> Any:
  """`value` with each number that JSON cannot express (NaN, infinities) as None."""
  if isinstance(value, Mapping):
    return {key: to_json(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [to_json(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Writes strict JSON, NaN as null. Raises `OSError` if the disk does not take it; the file is whole in any case."""
  write_durably(path, (json.dumps(to_json(value), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike[str], kind: type[Value]) -> Value:
  """The value in a JSON file, a `dict` or a `list` as `kind` says.

  Raises:
    ConfigurationError: the file is not JSON, or its value is of another kind; names the file.
    OSError: it cannot be read.
  """
  try:
    value = json.loads(Path(path).read_bytes())
  except (ValueError, RecursionError) as error:
    raise ConfigurationError(f"{path}: not JSON: {error}") from error
  if not isinstance(value, kind):
    raise ConfigurationError(f"{path}: expected a JSON {kind.__name__}, found {type(value).__name__}")
  return value


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file of metrics; a last line that was cut off while it was written is left out.

  A damaged line before that is an error: a gap would not be seen in a picture or a table.

  Raises:
    ValueError: a line is no row; names the file and the line.
    OSError: the file cannot be read.
  """
  rows = []
  for number, line in enumerate(whole_lines(Path(path).read_bytes()), start=1):
    try:
      rows.append(parse_row(line))
    except ValueError as error:
      raise ValueError(f"{path}, line {number}: {error}") from error
  return rows


def whole_lines(data: bytes) -> list[bytes]:
  """The lines of a file, without what follows the last line break: it was cut off."""
  return data.split(b"\n")[:-1]


def parse_row(line: bytes) -> dict[str, Any]:
  """A line of metrics: an object with the numbers `step` and `wall_time`. Raises `ValueError` if it is none."""
  try:
    row = json.loads(line.decode())
  except (ValueError, RecursionError) as error:
    raise ValueError(f"not JSON: {error}") from error
  if not isinstance(row, dict):
    raise ValueError(f"found {type(row).__name__}; expected a JSON object")
  for name in ("step", "wall_time"):
    if not isinstance(row.get(name), int | float):
      raise ValueError(f"{name}: found {row.get(name)!r}; expected a number")
  return row


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested values by dotted names: `{"training": {"steps": 1}}` gives `{"training.steps": 1}`."""
  flat: dict[str, Any] = {}
  for name, value in values.items():
    flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
  return flat
