"""A dataset's description of itself: `manifest.json`, read and written with every field checked.

The file holds the fields of `Manifest` and a digest of them, so that no changed number passes for the one written.
Version 1 of the file had no digest. Versions 1 and 2 did not say what scores 0 and 100 are: `references` is inferred
from `behaviour`. Both are read as version 3.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from macaw_jax.data.references import UNSTATED, inferred_texts
from macaw_jax.digests import DIGEST, document_digest

SCHEMA_VERSION = 3
WITHOUT_REFERENCES = (1, 2)  # versions before, still read
WITHOUT_DIGEST = 1
MANIFEST_FILE = "manifest.json"
# Fields that no number follows from.
PROVENANCE = ("schema_version", "references", "behaviour", "versions", "git_commit", "created")


class DatasetError(ValueError):
  """A dataset, or a request for one, that cannot be used; the message names file, key and row and what was expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskEntry:
  """One task of a dataset.

  `macaw_jax.data.dataset.write_episodes` fills in the first four fields; whoever collects gives the others.
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
  # In words, what the reference returns "random" and "expert" of the tasks are.
  references: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(UNSTATED))
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
  place = _Place(str(path))
  try:
    document, expected = _read_document(path)
    if "schema_version" not in document:
      raise place.missing("schema_version")
    if _version(document["schema_version"], place.at("schema_version")) == WITHOUT_DIGEST:
      return _parse_manifest(document, place)
    if DIGEST not in document:
      raise place.missing(DIGEST)
  except DatasetError as error:
    return None, [str(error)]
  digest = document.pop(DIGEST)
  manifest, problems = _parse_manifest(document, place)
  if digest != expected:
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
  return document_digest({key: value for key, value in dataclasses.asdict(manifest).items() if key not in PROVENANCE})


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
    document = _object(document, _Place(str(path)))
    return document, document_digest(document)
  except DatasetError:
    raise
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: expected JSON in UTF-8, got {type(error).__name__}: {error}") from error


class _Place(NamedTuple):
  """The place of a value in a file, for messages."""

  file: str
  key: str = ""

  def at(self, key: str | int) -> "_Place":
    if isinstance(key, int):
      return _Place(self.file, f"{self.key}[{key}]")
    return _Place(self.file, f"{self.key}.{key}" if self.key else key)

  def missing(self, key: str) -> DatasetError:
    return DatasetError(f"{self.file}: key {_short(self.at(key).key)} is missing")

  def error(self, expected: str, value: Any) -> DatasetError:
    return DatasetError(f"{self.file}: key {self.key or '(top)'!r}: expected {expected}, got {_short(value)}")


_Check = Callable[[Any, _Place], Any]
"""`(value, place) -> value`, as it is read. Raises `DatasetError` where the value cannot be used."""


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


def _checked(expected: str, holds: Callable[[Any], bool]) -> _Check:
  """The check that gives a value back where `holds` is true of it."""

  def check(value: Any, place: _Place) -> Any:
    if not holds(value):
      raise place.error(expected, value)
    return value

  return check


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _at_least(minimum: int) -> _Check:
  return _checked(f"an integer of at least {minimum}", lambda value: _is_integer(value) and value >= minimum)


def _text(expected: str, pattern: str) -> _Check:
  return _checked(
    expected, lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) is not None
  )


_boolean = _checked("true or false", lambda value: isinstance(value, bool))
_string = _text("a string that is not empty", ".+")
_list = _checked("a list", lambda value: isinstance(value, list))
_object = _checked("an object", lambda value: isinstance(value, dict))
_version = _checked(
  f"one of {', '.join(map(str, (*WITHOUT_REFERENCES, SCHEMA_VERSION)))}, the versions that this package reads",
  lambda value: _is_integer(value) and value in (*WITHOUT_REFERENCES, SCHEMA_VERSION),
)


def _number(value: Any, place: _Place) -> float:
  if not (_is_integer(value) or isinstance(value, float)) or not abs(value) < math.inf:
    raise place.error("a finite number", value)
  try:
    return float(value)
  except OverflowError:
    raise place.error("a number that a float holds", value) from None


def _discount(value: Any, place: _Place) -> float:
  discount = _number(value, place)
  if not 0.0 < discount <= 1.0:
    raise place.error("a number above 0 and at most 1", discount)
  return discount


def _items(check: _Check) -> _Check:
  """The check of a list, from that of its items."""
  return lambda value, place: [check(item, place.at(index)) for index, item in enumerate(_list(value, place))]


def _values(check: _Check) -> _Check:
  """The check of an object with any keys, from that of its values."""
  return lambda value, place: {key: check(item, place.at(key)) for key, item in _object(value, place).items()}


def _parameter(value: Any, place: _Place) -> float | list[Any]:
  return _items(_parameter)(value, place) if isinstance(value, list) else _number(value, place)


def _split(value: Any, place: _Place) -> tuple[int, ...]:
  indices = _items(_at_least(0))(value, place)
  if len(set(indices)) < len(indices):
    raise place.error("each task index once", value)
  return tuple(indices)


def _examine_fields(
  value: Any, checks: Mapping[str, _Check], place: _Place
) -> tuple[dict[str, Any], list[DatasetError]]:
  """The checked fields of an object that has these keys and no others, and an error for each that cannot be used."""
  unknown = [_short(place.at(key).key) for key in _object(value, place) if key not in checks]
  errors = [DatasetError(f"{place.file}: key {key} is unknown; expected {sorted(checks)}") for key in unknown]
  fields: dict[str, Any] = {}
  for key, check in checks.items():
    try:
      if key not in value:
        raise place.missing(key)
      fields[key] = check(value[key], place.at(key))
    except DatasetError as error:
      errors.append(error)
  return fields, errors


def _fields(checks: Mapping[str, _Check]) -> _Check:
  """The check of an object with these keys and no others."""

  def check(value: Any, place: _Place) -> dict[str, Any]:
    fields, errors = _examine_fields(value, checks, place)
    for error in errors:
      raise error
    return fields

  return check


_task = _fields(
  {
    # A plain name: a manifest must not reach outside its own directory.
    "file": _text("the plain name of an .npz file", r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.npz"),
    "sha256": _text("64 lower-case hexadecimal digits", "[0-9a-f]{64}"),
    "num_transitions": _at_least(1),
    "num_episodes": _at_least(1),
    "parameters": _values(_parameter),
    "reference_returns": _fields({"random": _number, "expert": _number}),
  }
)


def _tasks(value: Any, place: _Place) -> tuple[TaskEntry, ...]:
  tasks = tuple(TaskEntry(**fields) for fields in _items(_task)(value, place))
  if not tasks:
    raise place.error("at least one task", value)
  files = [task.file for task in tasks]
  if len(set(files)) < len(files):
    raise place.error("a file of its own for each task", files)
  return tasks


_CHECKS: dict[str, _Check] = {
  "schema_version": _version,
  "family": _string,
  "observation_size": _at_least(1),
  "action_size": _at_least(1),
  "horizon": _at_least(1),
  "discount": _discount,
  "seed": _at_least(0),
  "train_tasks": _split,
  "test_tasks": _split,
  "tasks_shared_by_splits": _boolean,
  "tasks": _tasks,
  "references": _fields({"random": _string, "expert": _string}),
  "behaviour": _object,
  "versions": _values(_string),
  "git_commit": lambda value, place: None if value is None else _string(value, place),
  "created": _string,
}


def _parse_manifest(document: Mapping[str, Any], place: _Place) -> tuple[Manifest | None, list[str]]:
  """The manifest, or None, and a line for each field that cannot be used."""
  before = document.get("schema_version") in WITHOUT_REFERENCES
  checks = {key: check for key, check in _CHECKS.items() if not (before and key == "references")}
  fields, errors = _examine_fields(document, checks, place)
  if not errors:
    if before:
      fields["references"] = inferred_texts(fields["behaviour"])
    manifest = Manifest(**fields | {"schema_version": SCHEMA_VERSION})  # whichever version was read
    errors = list(_contradictions(manifest, place))
  return (None if errors else manifest), [str(error) for error in errors]


def _contradictions(manifest: Manifest, place: _Place) -> Iterator[DatasetError]:
  """Fields that are well-formed and do not fit together."""
  for key in ("train_tasks", "test_tasks"):
    for position, index in enumerate(getattr(manifest, key)):
      if index >= len(manifest.tasks):
        yield place.at(key).at(position).error(f"a task index below {len(manifest.tasks)}", index)
  overlap = sorted(set(manifest.train_tasks) & set(manifest.test_tasks))
  if overlap and not manifest.tasks_shared_by_splits:
    yield place.at("test_tasks").error("no training task, as tasks_shared_by_splits is false", overlap)
