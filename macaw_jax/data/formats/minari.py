"""Datasets in the layout of Minari 0.5: one dataset a task.

`<id>/data/main_data.hdf5` has a group `episode_<n>` for each episode: `observations` `[H + 1, O]` with the one after
the last step, `actions` `[H, A]`, `rewards`, `terminations` (the task ended the episode) and `truncations` (a time
limit did) `[H]`. `<id>/data/metadata.json` describes the whole; where it has `ref_min_score` and `ref_max_score`, these
are the returns of scores 0 and 100. Spaces must be boxes of one axis.

The files are read and written here with h5py, so that they can be checked and carry checksums; the minari package
reads what is written: `MINARI_DATASETS_PATH=<directory>` and `minari.load_dataset("macaw/cheetah-vel/task-07-v0")`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.dataset import Episodes, task_name
from macaw_jax.data.files import new_directory
from macaw_jax.data.formats.contract import Imported, ReadOptions
from macaw_jax.data.formats.files import given_paths, natural_order, read_bytes, short
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import DISCOUNT_ATTRIBUTE, Hdf5Reader, common_attributes, open_hdf5, write_hdf5
from macaw_jax.data.formats.table import Rows, Source, Table
from macaw_jax.data.manifest import DatasetError, Manifest, TaskEntry
from macaw_jax.data.references import MINARI, References, from_document, to_document

_MAIN, _METADATA, _NAMESPACE = "main_data.hdf5", "metadata.json", "namespace_metadata.json"
_VERSION = "0.5.0"  # the first with this layout
_COLLECTED_AT = "collected_at"
_REFERENCES = {"random": "ref_min_score", "expert": "ref_max_score"}  # keys of the metadata


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from dataset directories (`.../task-07-v0`), or from all below one root, in the order of their names.

  Raises:
    DatasetError: a dataset is damaged, or contradicts itself or its metadata.
  """
  directories = _dataset_directories(given_paths(paths))
  return gather((_read_dataset(directory, options) for directory in directories), options)


def write(directory: Path, episodes_by_task: Sequence[Episodes], manifest: Manifest) -> None:
  """Makes `macaw/<family>/task-00-v0` for each task below a new directory that Minari takes as its root.

  Raises:
    DatasetError: the directory exists or cannot be written.
  """
  family = re.sub(r"[^A-Za-z0-9]+", "-", manifest.family).strip("-") or "family"
  with new_directory(Path(directory)) as partial:
    (partial / "macaw" / family).mkdir(parents=True)
    for namespace in ("macaw", f"macaw/{family}"):
      (partial / namespace / _NAMESPACE).write_text("{}")
    for index, (episodes, entry) in enumerate(zip(episodes_by_task, manifest.tasks, strict=True)):
      dataset_id = f"macaw/{family}/{task_name(index, len(manifest.tasks)).replace('_', '-')}-v0"
      data = partial / dataset_id / "data"
      data.mkdir(parents=True)
      arrays, attributes = _arrays(episodes)
      write_hdf5(data / _MAIN, arrays, attributes | {"": common_attributes(manifest, index)})
      size = (data / _MAIN).stat().st_size / 1e6
      metadata = _metadata(dataset_id, episodes, manifest, entry) | {"dataset_size": size}
      (data / _METADATA).write_text(json.dumps(metadata, indent=2))


def _arrays(episodes: Episodes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  arrays: dict[str, np.ndarray] = {}
  attributes: dict[str, Any] = {}
  ends = np.cumsum(episodes.episode_length, dtype=np.int64)
  for index, (end, length) in enumerate(zip(ends, episodes.episode_length, strict=True)):
    group, rows = f"episode_{index}", slice(end - length, end)
    terminations, truncations = np.zeros((2, length), np.bool_)
    terminations[-1], truncations[-1] = episodes.terminal[index], ~episodes.terminal[index]
    arrays |= {
      f"{group}/observations": np.vstack([episodes.observation[rows], episodes.final_observation[index]]),
      f"{group}/actions": episodes.action[rows],
      f"{group}/rewards": episodes.reward[rows],
      f"{group}/terminations": terminations,
      f"{group}/truncations": truncations,
    }
    attributes[group] = {"id": index, "total_steps": int(length), _COLLECTED_AT: int(episodes.collected_at[index])}
  return arrays, attributes


def _metadata(dataset_id: str, episodes: Episodes, manifest: Manifest, entry: TaskEntry) -> dict[str, Any]:
  def space(bound: float, size: int) -> str:
    box = {"type": "Box", "dtype": "float32", "shape": [size], "low": [-bound] * size, "high": [bound] * size}
    return json.dumps(box)

  return {
    "total_episodes": len(episodes.episode_length),
    "total_steps": len(episodes.reward),
    "data_format": "hdf5",
    "observation_space": space(float("inf"), manifest.observation_size),
    "action_space": space(1.0, manifest.action_size),
    "dataset_id": dataset_id,
    "algorithm_name": str(manifest.behaviour.get("agent", "unknown")),
    "description": f"Task family {manifest.family}: one of {len(manifest.tasks)} tasks.",
    "minari_version": _VERSION,
    **{key: entry.reference_returns[name] for name, key in _REFERENCES.items()},
  }


def _dataset_directories(paths: list[Path]) -> list[Path]:
  """The `data` directory of each dataset."""
  found: list[Path] = []
  for path in paths:
    here = [directory for directory in (path / "data", path) if (directory / _MAIN).is_file()][:1]
    if not here and len(paths) == 1:
      here = natural_order(main.parent for main in path.rglob(f"data/{_MAIN}"))
    if not here:
      raise DatasetError(f"{path}: expected a Minari dataset, a directory with data/{_MAIN}, found none")
    found += here
  return found


def _read_metadata(path: Path) -> tuple[int, int, References | None]:
  """Numbers of episodes and of steps, and the references where both are there."""
  try:
    document = json.loads(read_bytes(path))
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: expected JSON, got {short(error)}") from error
  if not isinstance(document, dict):
    raise DatasetError(f"{path}: expected a JSON object, got {type(document).__name__}")
  source = Source(str(path), document.get)
  if document.get("data_format", "hdf5") != "hdf5":
    raise source.fault("data_format", "'hdf5'", repr(document["data_format"]))
  for key in ("observation_space", "action_space"):
    if key in document:
      _check_space(source, key)
  for key in ("total_episodes", "total_steps"):
    if type(document.get(key)) is not int or document[key] < 1:
      raise source.fault(key, "an integer of at least 1", repr(document.get(key)))
  stated: dict[str, Any] = {name: document.get(key) for name, key in _REFERENCES.items()}
  try:
    references = None if None in stated.values() else from_document(to_document(stated, MINARI))
  except ValueError as error:
    raise source.fault(" and ".join(_REFERENCES.values()), "finite returns", list(stated.values())) from error
  return document["total_episodes"], document["total_steps"], references


def _read_dataset(directory: Path, options: ReadOptions) -> SourceTask:
  path = directory / _MAIN
  num_episodes, num_steps, references = _read_metadata(directory / _METADATA)
  with open_hdf5(path, options) as source:
    rows = _read_task(source, num_episodes, num_steps)
    discount = source.discount(f"@{DISCOUNT_ATTRIBUTE}", source.number(DISCOUNT_ATTRIBUTE))
    files, references = (path, directory / _METADATA), source.references() or references
    return SourceTask(files, rows, discount, source.parameters(), source.notes, references)


def _check_space(source: Source, key: str) -> None:
  """Raises `DatasetError` for a space whose elements are not flat vectors."""
  text = source.array(key)
  try:
    space = json.loads(text)
    kind, num_axes = str(space["type"]), len(space.get("shape", ()))
  except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
    raise source.fault(key, "a space as JSON", repr(text)[:80]) from error
  if kind != "Box" or num_axes != 1:
    expected = "a Box of one axis (flatten others before importing them)"
    raise source.fault(key, expected, f"a {kind[:40]} of {num_axes} axes")


def _read_task(source: Hdf5Reader, num_episodes: int, num_steps: int) -> Rows:
  groups = set(source.keys())
  # Compared without making the list that is expected: the number comes from a file.
  if len(groups) != num_episodes or any(f"episode_{index}" not in groups for index in range(len(groups))):
    raise DatasetError(
      f"{source.name}: expected the groups episode_0 to episode_{num_episodes - 1} as in {_METADATA}, "
      f"got {len(groups)}: {sorted(groups)[:10]}"
    )
  tables: list[Table] = []
  stated = []
  for index in range(num_episodes):
    table, collected_at = _read_episode(source, f"episode_{index}", *tables[:1])
    tables.append(table)
    stated.append(collected_at)
  table = Table(*(np.concatenate(arrays) for arrays in zip(*tables, strict=True)))
  if len(table.reward) != num_steps:
    raise DatasetError(f"{source.name}: expected {num_steps} steps as in {_METADATA}, got {len(table.reward)}")
  last = np.zeros(num_steps, np.bool_)
  last[np.cumsum([len(part.reward) for part in tables]) - 1] = True
  rows = Rows(source.name, table, "observations", last, complete=True)
  if all(count is None for count in stated):
    return rows
  counts = np.array([-1 if count is None else count for count in stated], np.int64)
  return rows._replace(collected_at=source.counts(f"@{_COLLECTED_AT}", counts, num_episodes))


def _read_episode(source: Hdf5Reader, group: str, first: Table | None = None) -> tuple[Table, int | None]:
  """The rows of an episode, and when its collection began, where that is stated."""
  observation_size, action_size = (None, None) if first is None else (first.observation.shape[1], first.action.shape[1])
  action = source.actions(f"{group}/actions", columns=action_size)
  steps = len(action)
  observation = source.matrix(f"{group}/observations", steps + 1, observation_size)
  reward = source.column(f"{group}/rewards", steps)
  ends = {}
  for name in ("terminations", "truncations"):
    ends[name] = source.flags(f"{group}/{name}", steps)
    if ends[name][:-1].any():
      row = int(np.argmax(ends[name]))
      raise source.fault(f"{group}/{name}", "true on the last step alone", f"true in row {row} of {steps}")
  stated = source.attribute("total_steps", group)
  if stated is not None and stated != steps:
    raise source.fault(f"{group}@total_steps", f"the {steps} steps there are", stated)
  collected_at = source.attribute(_COLLECTED_AT, group)
  if collected_at is not None and (type(collected_at) is not int or collected_at < 0):
    raise source.fault(f"{group}@{_COLLECTED_AT}", "an integer of at least 0", repr(collected_at))
  return Table(observation[:-1], action, reward, observation[1:], ends["terminations"]), collected_at
