"""What a dataset says of itself: `manifest.json`, read and written with every field checked."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"


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
  """What a dataset holds and where it came from. The index of a task is its position in `tasks`."""

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
    DatasetError: the directory or file is missing, is not JSON, or a field is missing, unknown or of a wrong value.
  """
  path = Path(directory) / MANIFEST_FILE
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
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: expected JSON in UTF-8, got {type(error).__name__}: {error}") from error
  return _parse_manifest(document, _Place(str(path)))


def write_manifest(directory: str | os.PathLike[str], manifest: Manifest) -> None:
  """Writes a new `manifest.json`, flushed to disk. Raises `DatasetError` for what `read_manifest` would refuse."""
  path = Path(directory) / MANIFEST_FILE
  text = json.dumps(dataclasses.asdict(check_manifest(manifest, path)), indent=2) + "\n"
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
  return _parse_manifest(document, _Place(os.fspath(path)))


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


def _split(value: Any, place: _Place, num_tasks: int) -> tuple[int, ...]:
  indices = tuple(_integer(item, place.at(position), 0) for position, item in enumerate(_list(value, place)))
  for position, index in enumerate(indices):
    if index >= num_tasks:
      raise place.at(position).error(f"a task index below {num_tasks}", index)
  if len(set(indices)) < len(indices):
    raise place.error("each task index once", value)
  return indices


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


def _parse_manifest(document: Any, place: _Place) -> Manifest:
  version = document.get("schema_version") if isinstance(document, dict) else None
  # First, so that a later version's new keys are not called unknown.
  if version is not None and (isinstance(version, bool) or version != SCHEMA_VERSION):
    raise place.at("schema_version").error(f"{SCHEMA_VERSION}, the version that this package reads", version)
  fields = _fields(document, [field.name for field in dataclasses.fields(Manifest)], place)
  tasks_place = place.at("tasks")
  tasks = tuple(
    _parse_task(item, tasks_place.at(position)) for position, item in enumerate(_list(fields["tasks"], tasks_place))
  )
  if not tasks:
    raise tasks_place.error("at least one task", fields["tasks"])
  files = [task.file for task in tasks]
  if len(set(files)) < len(files):
    raise tasks_place.error("a file of its own for each task", files)
  train_tasks = _split(fields["train_tasks"], place.at("train_tasks"), len(tasks))
  test_tasks = _split(fields["test_tasks"], place.at("test_tasks"), len(tasks))
  shared = fields["tasks_shared_by_splits"]
  if not isinstance(shared, bool):
    raise place.at("tasks_shared_by_splits").error("true or false", shared)
  overlap = sorted(set(train_tasks) & set(test_tasks))
  if overlap and not shared:
    raise place.at("test_tasks").error("no training task, as tasks_shared_by_splits is false", overlap)
  discount = _number(fields["discount"], place.at("discount"))
  if not 0.0 < discount <= 1.0:
    raise place.at("discount").error("a number above 0 and at most 1", discount)
  versions_place = place.at("versions")
  versions = _mapping(fields["versions"], versions_place)
  commit = fields["git_commit"]
  return Manifest(
    schema_version=_integer(version, place.at("schema_version"), SCHEMA_VERSION),
    family=_string(fields["family"], place.at("family")),
    observation_size=_integer(fields["observation_size"], place.at("observation_size"), 1),
    action_size=_integer(fields["action_size"], place.at("action_size"), 1),
    horizon=_integer(fields["horizon"], place.at("horizon"), 1),
    discount=discount,
    seed=_integer(fields["seed"], place.at("seed"), 0),
    train_tasks=train_tasks,
    test_tasks=test_tasks,
    tasks_shared_by_splits=shared,
    tasks=tasks,
    behaviour=_mapping(fields["behaviour"], place.at("behaviour")),
    versions={key: _string(item, versions_place.at(key)) for key, item in versions.items()},
    git_commit=None if commit is None else _string(commit, place.at("git_commit")),
    created=_string(fields["created"], place.at("created")),
  )
