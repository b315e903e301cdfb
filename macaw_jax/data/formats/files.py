"""The files of a source."""

import collections
import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from macaw_jax.data.manifest import DatasetError

Read = TypeVar("Read")


def natural_order(paths: Iterable[Path]) -> list[Path]:
  """Paths in the order of their names, numbers counted as numbers: task_2 before task_10."""
  return sorted(paths, key=lambda path: natural_key(str(path)))


def natural_key(name: str) -> list[tuple[int, int, str]]:
  """A key to sort names by, as `natural_order` does."""
  parts = re.findall(r"[0-9]+|[^0-9]+", name)
  return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]


def given_paths(paths: Sequence[Path]) -> list[Path]:
  """The paths of a source, patterns (`task_*.pkl`) replaced by what they match, in natural order.

  Raises:
    DatasetError: there is none, a pattern matches nothing, or two are the same.
  """
  if not paths:
    raise DatasetError("source: expected at least one path, got none")
  found: list[Path] = []
  for path in map(Path, paths):
    is_pattern = glob.has_magic(str(path)) and not path.exists()
    matches = natural_order(Path(name) for name in glob.glob(str(path))) if is_pattern else [path]
    if not matches:
      raise DatasetError(f"source: expected files that match {path}, found none")
    found += matches
  if len({path.resolve() for path in found}) < len(found):
    raise DatasetError(f"source: expected each path once, got {[str(path) for path in found][:20]}")
  return found


def source_files(paths: Sequence[Path], suffixes: Sequence[str], beside: Sequence[Path] = ()) -> list[Path]:
  """One file a task: the paths as given, or all files with one of the suffixes in the one directory given.

  Args:
    paths: files, patterns, or one directory.
    suffixes: of the files in a directory that count.
    beside: files that are no task, although they may lie there.

  Raises:
    DatasetError: a path is not there or twice, or there is none.
  """
  paths = given_paths(paths)
  if len(paths) == 1 and paths[0].is_dir():
    directory = paths[0]
    others = {path.resolve() for path in beside}
    paths = natural_order(
      path
      for path in list_directory(directory)
      if path.suffix in suffixes and not path.name.startswith(".") and path.resolve() not in others
    )
    if not paths:
      raise DatasetError(f"{directory}: expected files that end in {' or '.join(suffixes)}, found none")
  for path in paths:
    if not path.is_file():
      raise DatasetError(f"{path}: expected a file, found {'a directory' if path.is_dir() else 'nothing'}")
  return given_paths(paths)  # Several names in a directory may lead to one file.


def read_each(files: Sequence[Path], read: Callable[[Path], Read]) -> Iterator[Read]:
  """The content of each file; where one named unlike the others is no task, the error says how to leave it out."""
  for path in files:
    try:
      yield read(path)
    except DatasetError as error:
      raise DatasetError(f"{error}{_hint(path, files)}") from error


def _hint(path: Path, files: Sequence[Path]) -> str:
  shapes = collections.Counter(_shape(file.name) for file in files)
  (usual, count), *_ = shapes.most_common(1)
  if count < 2 or _shape(path.name) == usual:
    return ""
  return f". If the file is no task, name those that are by a pattern: --source '{path.parent / usual}'"


def _shape(name: str) -> str:
  """A pattern for names that differ in their last number: `task_[0-9]*.pkl`."""
  return re.sub(r"[0-9]+(?!.*[0-9])", "[0-9]*", name)


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
