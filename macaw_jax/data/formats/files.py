"""The files of a source."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from macaw_jax.data.manifest import DatasetError


def natural_order(paths: Iterable[Path]) -> list[Path]:
  """Paths in the order of their names, numbers counted as numbers: task_2 before task_10."""

  def key(path: Path) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", str(path))
    return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]

  return sorted(paths, key=key)


def given_paths(paths: Sequence[Path]) -> list[Path]:
  """The paths of a source. Raises `DatasetError` if there is none, or two are the same."""
  if not paths:
    raise DatasetError("source: expected at least one path, got none")
  if len({Path(path).resolve() for path in paths}) < len(paths):
    raise DatasetError(f"source: expected each path once, got {[str(path) for path in paths]}")
  return [Path(path) for path in paths]


def source_files(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
  """One file a task: the paths as given, or all files with one of the suffixes in the one directory given.

  Raises:
    DatasetError: a path is not there or twice, or there is none.
  """
  paths = given_paths(paths)
  if len(paths) == 1 and paths[0].is_dir():
    directory = paths[0]
    paths = natural_order(
      path for path in list_directory(directory) if path.suffix in suffixes and not path.name.startswith(".")
    )
    if not paths:
      raise DatasetError(f"{directory}: expected files that end in {' or '.join(suffixes)}, found none")
  for path in paths:
    if not path.is_file():
      raise DatasetError(f"{path}: expected a file, found {'a directory' if path.is_dir() else 'nothing'}")
  return given_paths(paths)  # Several names in a directory may lead to one file.


def short(error: Exception) -> str:
  """An exception in one line of bounded length: the messages of others may repeat what a file holds."""
  return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def list_directory(directory: Path) -> list[Path]:
  """The content of a directory. Raises `DatasetError` if it cannot be listed."""
  try:
    return list(directory.iterdir())
  except OSError as error:
    raise DatasetError(f"{directory}: cannot be read: {error}") from error


def read_bytes(path: Path) -> bytes:
  """The content of a file. Raises `DatasetError` if it cannot be read."""
  try:
    return path.read_bytes()
  except (OSError, MemoryError) as error:
    raise DatasetError(f"{path}: cannot be read: {error}") from error
