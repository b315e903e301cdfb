"""Strict JSON files: whole or not there, NaN as null, and one clear error where one cannot be read."""

import json
import math
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


def write_json(path: Path, value: Any) -> None:
  """Writes strict JSON, NaN as null. Raises `OSError` if the disk does not take it; the file is whole in any case."""
  write_durably(path, (json.dumps(to_json(value), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, kind: type[Value]) -> Value:
  """The value in a JSON file.

  Args:
    path: the file.
    kind: `dict` or `list`, whichever its value must be.

  Raises:
    ConfigurationError: the file is not JSON, or its value is of another kind.
  """
  try:
    value = json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise ConfigurationError(f"{path}: not JSON: {error}") from error
  if not isinstance(value, kind):
    raise ConfigurationError(f"{path}: expected a JSON {kind.__name__}, found {type(value).__name__}")
  return value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested values by dotted names: `{"training": {"steps": 1}}` gives `{"training.steps": 1}`."""
  flat: dict[str, Any] = {}
  for name, value in values.items():
    flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
  return flat
