"""A dataset of a few rows whose every value says where it stands."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.dataset import Episodes, write_episodes
from macaw_jax.data.manifest import Manifest, TaskEntry, document_digest

OBSERVATION_SIZE, ACTION_SIZE = 3, 2
LENGTHS = ((4, 2, 3), (1, 5), (5, 5, 5))  # tests name rows of these episodes


def make_episodes(lengths: Sequence[int], *, task: int = 0, terminal: Sequence[int] = ()) -> Episodes:
  """Row n of task t: observation (n, t, .), reward random. Final observation of episode e: (1000 + e, t, .)."""
  rng = np.random.default_rng(task)
  num_rows, num_episodes = sum(lengths), len(lengths)
  observation = rng.normal(size=(num_rows, OBSERVATION_SIZE)).astype(np.float32)
  observation[:, 0], observation[:, 1] = np.arange(num_rows), task
  final_observation = rng.normal(size=(num_episodes, OBSERVATION_SIZE)).astype(np.float32)
  final_observation[:, 0], final_observation[:, 1] = 1000 + np.arange(num_episodes), task
  return Episodes(
    observation=observation,
    action=rng.uniform(-1, 1, (num_rows, ACTION_SIZE)).astype(np.float32),
    reward=rng.normal(size=num_rows).astype(np.float32),
    episode_length=np.array(lengths, np.int32),
    final_observation=final_observation,
    terminal=np.isin(np.arange(num_episodes), terminal),
    collected_at=10 * np.arange(num_episodes, dtype=np.int64),
  )


def make_manifest(num_tasks: int, **changes: Any) -> Manifest:
  fields: dict[str, Any] = {
    "family": "small",
    "observation_size": OBSERVATION_SIZE,
    "action_size": ACTION_SIZE,
    "horizon": 5,
    "discount": 0.5,
    "seed": 0,
    "train_tasks": tuple(range(num_tasks - 1)),
    "test_tasks": (num_tasks - 1,),
    "tasks": tuple(
      TaskEntry(parameters={"speed": 0.5 * task}, reference_returns={"random": -1.0, "expert": 9.0})
      for task in range(num_tasks)
    ),
    "behaviour": {"updates": 3, "config": {"hidden_sizes": [8, 8]}},
    "versions": {"numpy": np.__version__},
    "git_commit": None,
    "created": "2026-01-01T00:00:00+00:00",
  }
  return Manifest(**(fields | changes))


def write_small(directory: Path, lengths: Sequence[Sequence[int]] = LENGTHS, **changes: Any) -> list[Episodes]:
  episodes = [make_episodes(task_lengths, task=task) for task, task_lengths in enumerate(lengths)]
  write_episodes(directory, episodes, make_manifest(len(lengths), **changes))
  return episodes


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
  """Changes fields and the digest with them, so that what is checked beside the digest is reached."""
  path = directory / "manifest.json"
  document = json.loads(path.read_text())
  edit(document)
  if "digest" in document:
    document["digest"] = document_digest(document)
  path.write_text(json.dumps(document))


def accept_file(directory: Path, task: int) -> None:
  """Writes the hash of a changed task file into the manifest, so that what is checked after the hash is reached."""
  digest = hashlib.sha256((directory / f"task_{task:02d}.npz").read_bytes()).hexdigest()
  edit_manifest(directory, lambda document: document["tasks"][task].update(sha256=digest))


def edit_arrays(directory: Path, task: int, edit: Callable[[dict[str, np.ndarray]], Any]) -> None:
  path = directory / f"task_{task:02d}.npz"
  with np.load(path) as file:
    arrays = {key: file[key].copy() for key in file.files}
  edit(arrays)
  np.savez(path, **arrays)
  accept_file(directory, task)
