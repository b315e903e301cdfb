"""Small files of numbers and names, in any of the kinds that people keep them in."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.files import read_bytes, short
from macaw_jax.data.formats.npy import parse_npy
from macaw_jax.data.formats.unpickle import unpickle
from macaw_jax.data.manifest import DatasetError

_MAX_BYTES = 1 << 28  # of a member of an archive, uncompressed
KINDS = (".json", ".csv", ".npy", ".npz", ".pkl", ".pickle")


def read_values(path: Path) -> Any:
  """The content of a file, as lists, dicts, numbers and arrays.

  A `.csv` file is a list of rows of numbers, or with a line of names a dict of columns. An `.npz` file is a dict of
  arrays. An object array is what it holds, where that is one object.

  Raises:
    DatasetError: the file cannot be read, or is of no kind in `KINDS`.
  """
  data = read_bytes(path)
  match path.suffix.lower():
    case ".json":
      return _parse_json(data, path)
    case ".csv":
      return _parse_csv(data, path)
    case ".npy":
      return _plain(parse_npy(data, str(path)))
    case ".npz":
      return _parse_npz(data, path)
    case ".pkl" | ".pickle":
      return unpickle(data, str(path))
  raise DatasetError(f"{path}: expected a file that ends in {', '.join(KINDS)}")


def _parse_json(data: bytes, path: Path) -> Any:
  try:
    return json.loads(data)
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: expected JSON, got {short(error)}") from error


def _parse_csv(data: bytes, path: Path) -> Any:
  try:
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if row]
  except (UnicodeDecodeError, csv.Error) as error:
    raise DatasetError(f"{path}: expected comma-separated numbers, got {short(error)}") from error
  names = rows[0] if rows and not _is_number(rows[0][0]) else None
  try:
    numbers = [[float(cell) for cell in row] for row in rows[bool(names) :]]
  except ValueError as error:
    raise DatasetError(f"{path}: expected comma-separated numbers, got {short(error)}") from error
  if names is None:
    return numbers
  if any(len(row) != len(names) for row in numbers) or len(set(names)) < len(names):
    raise DatasetError(f"{path}: expected a name of its own for each column, and a number under each, got {names}")
  return _join_columns({name.strip(): [row[at] for row in numbers] for at, name in enumerate(names)})


def _join_columns(columns: dict[str, list[float]]) -> dict[str, Any]:
  """Columns `goal_0`, `goal_1`, ... as one `goal` of rows."""
  joined: dict[str, Any] = {}
  for name, values in columns.items():
    stem, _, index = name.rpartition("_")
    if stem and index == "0" and f"{stem}_1" in columns:
      parts: list[list[float]] = []
      while f"{stem}_{len(parts)}" in columns:
        parts.append(columns[f"{stem}_{len(parts)}"])
      joined[stem] = [list(row) for row in zip(*parts, strict=True)]
    elif not (stem in joined and index.isdecimal()):
      joined[name] = values
  return joined


def _parse_npz(data: bytes, path: Path) -> dict[str, Any]:
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      members = archive.infolist()
      if sum(member.file_size for member in members) > _MAX_BYTES:
        raise DatasetError(f"{path}: expected arrays of at most {_MAX_BYTES:,} bytes")
      contents = {member.filename.removesuffix(".npy"): archive.read(member) for member in members}
  except DatasetError:
    raise
  # Damaged archives surface as half a dozen exception types; for the reader they are one thing.
  except Exception as error:
    raise DatasetError(f"{path}: expected an .npz archive, got {short(error)}") from error
  return {name: _plain(parse_npy(content, f"{path}: {name}")) for name, content in contents.items()}


def _plain(array: np.ndarray) -> Any:
  return array.item() if array.dtype == object and array.ndim == 0 else array


def _is_number(cell: str) -> bool:
  try:
    float(cell)
  except ValueError:
    return False
  return True
