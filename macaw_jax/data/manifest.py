"""A dataset's description of itself: `manifest.json`, read and written with every field checked.

The file holds the fields of `Manifest` and a digest of them, so that no changed number passes for the one written.
Version 1 of the file had no digest; it is read as version 2.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from macaw_jax.digests import DIGEST, document_digest

SCHEMA_VERSION = 2
WITHOUT_DIGEST = 1  # the version before, still read
MANIFEST_FILE = "manifest.json"
PROVENANCE = ("schema_version", "behaviour", "versions", "git_commit", "created")  # fields that no number follows from
_ABSENT = object()


class DatasetError(ValueError):
  """A dataset, or a request for one, that cannot be used; the message names file, key and row and what was expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskEntry:
  """One task of a dataset.

  `macaw_jax.data.dataset.write_dataset` fills in the first four fields; whoever collects gives the others.
  """

  file: str = ""
  sha256: str = ""
  num_transitions: int = 0
  num_episodes: int = 0
  parameters: Mapping[str, float | Sequence[Any]]  # the numbers that make the task; lists may be nested
  reference_returns: Mapping[str, float]  # undiscounted returns of score 0 ("random") and score 100 ("expert")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """The content of a dataset and its origin. The index of a task is its position in `tasks`."""

  schema_version: int = SCHEMA_VERSION
  family: str
  observation_size: int
  action_size: int
  horizon: int  # most steps of an episode
  discount: float
  seed: int
  train_tasks: tuple[int, ...]
  test_tasks: tuple[int, ...]
  tasks_shared_by_splits: bool = False  # true where tasks may be both trained and tested on
  tasks: tuple[TaskEntry, ...]
  behaviour: Mapping[str, Any]  # who collected: configuration, environment steps, updates
  versions: Mapping[str, str]  # package -> version
  git_commit: str | None
  created: str  # date and time, ISO 8601


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
  """The checked manifest of a dataset directory.

  Raises:
    DatasetError: the directory or file is missing, is not JSON, a field is missing, unknown or of a wrong value, or
      the file was changed after it was written.
  """
  manifest, problems = examine_manifest(directory)
  if manifest is None or problems:
    raise DatasetError(problems[0])
  return manifest


def examine_manifest(directory: str | os.PathLike[str]) -> tuple[Manifest | None, list[str]]:
  """The manifest, or None where its fields cannot be used, and all that is wrong with the file, one line each."""
  path = Path(directory) / MANIFEST_FILE
  try:
    document, expected = _read_document(path)
    digest = _take_digest(document, _Place(str(path)))
  except DatasetError as error:
    return None, [str(error)]
  manifest, problems = _parse_manifest(document, _Place(str(path)))
  if digest is not _ABSENT and digest != expected:
    problems.append(
      f"{path}: key {DIGEST!r}: expected {expected}, the SHA-256 of the other fields, got {_short(digest)}: "
      "the file was changed after it was written"
    )
  return manifest, problems


def write_manifest(directory: str | os.PathLike[str], manifest: Manifest) -> None:
  """Writes a new `manifest.json`, flushed to disk. Raises `DatasetError` for what `read_manifest` would refuse."""
  path = Path(directory) / MANIFEST_FILE
  document = json.loads(json.dumps(dataclasses.asdict(check_manifest(manifest, path))))
  text = json.dumps(document | {DIGEST: document_digest(document)}, indent=2) + "\n"
  with open(path, "x", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def check_manifest(manifest: Manifest, path: str | os.PathLike[str]) -> Manifest:
  """The manifest as reading it back would give it. Raises `DatasetError`, naming `path`, if it could not be read."""
  try:
    document = json.loads(json.dumps(dataclasses.asdict(manifest), allow_nan=False))
  except (TypeError, ValueError, RecursionError) as error:
    raise DatasetError(f"{os.fspath(path)}: expected a manifest of JSON values, got {error}") from error
  checked, problems = _parse_manifest(document, _Place(os.fspath(path)))
  if checked is None or problems:
    raise DatasetError(problems[0])
  return checked


def content_digest(manifest: Manifest) -> str:
  """SHA-256 of what a dataset holds, the digests of its files among it; not of when and with what it was made."""
  fields = dataclasses.asdict(manifest)
  for name in PROVENANCE:
    del fields[name]
  return document_digest(fields)


def _read_document(path: Path) -> tuple[dict[str, Any], str]:
  """The object in the file, and the digest that it should have."""
  try:
    text = path.read_bytes()
  except (FileNotFoundError, NotADirectoryError) as error:
    raise DatasetError(
      f"{path}: no dataset here. Make one with `python -m experiments.collect --config=configs/collect/<family>.py`."
    ) from error
  except OSError as error:
    raise DatasetError(f"{path}: cannot be read: {error}") from error
  try:
    document = json.loads(
      text.decode("utf-8"),
      object_pairs_hook=_without_duplicates,
      parse_constant=_finite_number,
      parse_float=_finite_number,
    )
    document = _mapping(document, _Place(str(path)))
    return document, document_digest(document)
  except DatasetError:
    raise
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: expected JSON in UTF-8, got {type(error).__name__}: {error}") from error


def _take_digest(document: dict[str, Any], place: "_Place") -> Any:
  """Removes the digest from a document and returns it; `_ABSENT` from a version that has none.

  Raises:
    DatasetError: the version is not one that is read here, or lacks its digest.
  """
  if "schema_version" not in document:
    raise DatasetError(f"{place.file}: key 'schema_version' is missing")
  _schema_version(document["schema_version"], place.at("schema_version"))
  if document["schema_version"] == WITHOUT_DIGEST:
    return _ABSENT
  if DIGEST not in document:
    raise DatasetError(f"{place.file}: key {DIGEST!r} is missing")
  return document.pop(DIGEST)


class _Place:
  """Where in a file a value stands, for messages."""

  def __init__(self, file: str, key: str = ""):
    self.file, self.key = file, key

  def at(self, key: str | int) -> "_Place":
    if isinstance(key, int):
      return _Place(self.file, f"{self.key}[{key}]")
    return _Place(self.file, f"{self.key}.{key}" if self.key else key)

  def error(self, expected: str, value: Any) -> DatasetError:
    return DatasetError(f"{self.file}: key {self.key or '(top)'!r}: expected {expected}, got {_short(value)}")


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 80 else text[:77] + "..."


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  fields = dict(pairs)
  if len(fields) < len(pairs):
    raise ValueError(f"a key that stands twice among {_short([key for key, _ in pairs])}")
  return fields


def _finite_number(text: str) -> float:
  number = float(text)
  if not math.isfinite(number):
    raise ValueError(f"{text}, which is not a finite number")
  return number


def _fields(value: Any, expected: Sequence[str], place: _Place) -> dict[str, Any]:
  if not isinstance(value, dict):
    raise place.error(f"an object with keys {sorted(expected)}", value)
  for key in expected:
    if key not in value:
      raise DatasetError(f"{place.file}: key {place.at(key).key!r} is missing")
  for key in value:
    if key not in expected:
      raise DatasetError(f"{place.file}: key {_short(place.at(key).key)} is unknown; expected {sorted(expected)}")
  return value


def _integer(value: Any, place: _Place, minimum: int) -> int:
  if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
    raise place.error(f"an integer of at least {minimum}", value)
  return value


def _number(value: Any, place: _Place) -> float:
  if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < math.inf:
    raise place.error("a finite number", value)
  try:
    return float(value)
  except OverflowError:
    raise place.error("a number that a float holds", value) from None


def _string(value: Any, place: _Place) -> str:
  if not isinstance(value, str) or not value:
    raise place.error("a string that is not empty", value)
  return value


def _mapping(value: Any, place: _Place) -> dict[str, Any]:
  if not isinstance(value, dict):
    raise place.error("an object", value)
  return value


def _list(value: Any, place: _Place) -> list[Any]:
  if not isinstance(value, list):
    raise place.error("a list", value)
  return value


def _parameter(value: Any, place: _Place) -> float | list[Any]:
  if isinstance(value, list):
    return [_parameter(item, place.at(position)) for position, item in enumerate(value)]
  return _number(value, place)


def _schema_version(value: Any, place: _Place) -> int:
  """The version after reading, whichever of them the file has."""
  if value not in (WITHOUT_DIGEST, SCHEMA_VERSION) or not isinstance(value, int) or isinstance(value, bool):
    raise place.error(f"{WITHOUT_DIGEST} or {SCHEMA_VERSION}, the versions that this package reads", value)
  return SCHEMA_VERSION


def _discount(value: Any, place: _Place) -> float:
  discount = _number(value, place)
  if not 0.0 < discount <= 1.0:
    raise place.error("a number above 0 and at most 1", discount)
  return discount


def _split(value: Any, place: _Place) -> tuple[int, ...]:
  indices = tuple(_integer(item, place.at(position), 0) for position, item in enumerate(_list(value, place)))
  if len(set(indices)) < len(indices):
    raise place.error("each task index once", value)
  return indices


def _boolean(value: Any, place: _Place) -> bool:
  if not isinstance(value, bool):
    raise place.error("true or false", value)
  return value


def _tasks(value: Any, place: _Place) -> tuple[TaskEntry, ...]:
  tasks = tuple(_parse_task(item, place.at(position)) for position, item in enumerate(_list(value, place)))
  if not tasks:
    raise place.error("at least one task", value)
  files = [task.file for task in tasks]
  if len(set(files)) < len(files):
    raise place.error("a file of its own for each task", files)
  return tasks


def _versions(value: Any, place: _Place) -> dict[str, str]:
  return {key: _string(item, place.at(key)) for key, item in _mapping(value, place).items()}


def _commit(value: Any, place: _Place) -> str | None:
  return None if value is None else _string(value, place)


def _parse_task(value: Any, place: _Place) -> TaskEntry:
  fields = _fields(value, [field.name for field in dataclasses.fields(TaskEntry)], place)
  file = _string(fields["file"], place.at("file"))
  # A plain name: a manifest must not reach outside its own directory.
  if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.npz", file):
    raise place.at("file").error("the plain name of an .npz file", file)
  sha256 = _string(fields["sha256"], place.at("sha256"))
  if not re.fullmatch(r"[0-9a-f]{64}", sha256):
    raise place.at("sha256").error("64 lower-case hexadecimal digits", sha256)
  parameters = _mapping(fields["parameters"], place.at("parameters"))
  returns_place = place.at("reference_returns")
  returns = _fields(fields["reference_returns"], ("random", "expert"), returns_place)
  returns = {key: _number(returns[key], returns_place.at(key)) for key in ("random", "expert")}
  return TaskEntry(
    file=file,
    sha256=sha256,
    num_transitions=_integer(fields["num_transitions"], place.at("num_transitions"), 1),
    num_episodes=_integer(fields["num_episodes"], place.at("num_episodes"), 1),
    parameters={key: _parameter(item, place.at("parameters").at(key)) for key, item in parameters.items()},
    reference_returns=returns,
  )


_at_least_one = partial(_integer, minimum=1)

_PARSERS: dict[str, Callable[[Any, _Place], Any]] = {
  "schema_version": _schema_version,
  "family": _string,
  "observation_size": _at_least_one,
  "action_size": _at_least_one,
  "horizon": _at_least_one,
  "discount": _discount,
  "seed": partial(_integer, minimum=0),
  "train_tasks": _split,
  "test_tasks": _split,
  "tasks_shared_by_splits": _boolean,
  "tasks": _tasks,
  "behaviour": _mapping,
  "versions": _versions,
  "git_commit": _commit,
  "created": _string,
}


def _parse_manifest(document: Mapping[str, Any], place: _Place) -> tuple[Manifest | None, list[str]]:
  """The manifest, or None, and a line for each field that cannot be used."""
  problems = [
    f"{place.file}: key {_short(key)} is unknown; expected {sorted(_PARSERS)}"
    for key in document
    if key not in _PARSERS
  ]
  values: dict[str, Any] = {}
  for key, parse in _PARSERS.items():
    if key not in document:
      problems.append(f"{place.file}: key {key!r} is missing")
      continue
    try:
      values[key] = parse(document[key], place.at(key))
    except DatasetError as error:
      problems.append(str(error))
  if problems:
    return None, problems
  manifest = Manifest(**values)
  problems = [str(error) for error in _contradictions(manifest, place)]
  return (None if problems else manifest), problems


def _contradictions(manifest: Manifest, place: _Place) -> Iterator[DatasetError]:
  """Fields that are well-formed and do not fit together."""
  for key in ("train_tasks", "test_tasks"):
    for position, index in enumerate(getattr(manifest, key)):
      if index >= len(manifest.tasks):
        yield place.at(key).at(position).error(f"a task index below {len(manifest.tasks)}", index)
  overlap = sorted(set(manifest.train_tasks) & set(manifest.test_tasks))
  if overlap and not manifest.tasks_shared_by_splits:
    yield place.at("test_tasks").error("no training task, as tasks_shared_by_splits is false", overlap)
