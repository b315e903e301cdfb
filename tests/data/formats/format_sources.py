"""Small sources in every format, ours and as others write them."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import small_dataset
from small_dataset import make_manifest

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats import FORMATS, ReadOptions


def make_episodes(lengths: Sequence[int], *, task: int = 0, terminal: Sequence[int] = ()) -> Episodes:
  """As those of the neighbouring tests, but that the last step of an episode is as long as the others."""
  episodes = small_dataset.make_episodes(lengths, task=task, terminal=terminal)
  episodes.final_observation[:, 0] = np.cumsum(lengths)
  return episodes


TASKS = [
  make_episodes((4, 2, 1, 3), task=0, terminal=(1, 2)),
  make_episodes((1,), task=1),
  make_episodes((5, 5, 2), task=2, terminal=(2,)),
]
DISCOUNT = 0.99


def assert_same(found: Sequence[Episodes], expected: Sequence[Episodes]) -> None:
  assert len(found) == len(expected)
  for task, (one, other) in enumerate(zip(found, expected, strict=True)):
    for name in Episodes._fields:
      assert getattr(one, name).dtype == getattr(other, name).dtype
      np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{name} of task {task}")


def is_same(found: Sequence[Episodes], expected: Sequence[Episodes]) -> bool:
  return len(found) == len(expected) and all(
    np.array_equal(x, y) for one, other in zip(found, expected, strict=True) for x, y in zip(one, other, strict=True)
  )


def next_observation(episodes: Episodes) -> np.ndarray:
  shifted = np.concatenate([episodes.observation[1:], episodes.final_observation[-1:]])
  shifted[np.cumsum(episodes.episode_length) - 1] = episodes.final_observation
  return shifted


def row_flags(episodes: Episodes, flags: np.ndarray) -> np.ndarray:
  """Flags of episodes on their last rows."""
  rows = np.zeros(len(episodes.reward), bool)
  rows[np.cumsum(episodes.episode_length) - 1] = flags
  return rows


def own_order(episodes: Episodes) -> Episodes:
  """The episodes with the `collected_at` of a source that does not store it."""
  return episodes._replace(collected_at=np.cumsum(episodes.episode_length, dtype=np.int64) - episodes.episode_length)


def table(episodes: Episodes) -> dict[str, np.ndarray]:
  """A dict of arrays as in a pickle."""
  return {
    "observations": episodes.observation,
    "actions": episodes.action,
    "rewards": episodes.reward,
    "next_observations": next_observation(episodes),
    "terminals": row_flags(episodes, episodes.terminal),
  }


def write_pickles(directory: Path, tasks: Sequence[Episodes]) -> None:
  directory.mkdir()
  for index, episodes in enumerate(tasks):
    (directory / f"dataset_task_{index}.pkl").write_bytes(pickle.dumps(table(episodes)))


def trajectory(episodes: Episodes, index: int, dtype: Any = np.float64) -> np.ndarray:
  """Rows (observation, action, reward, next observation) of one episode."""
  stop = int(np.cumsum(episodes.episode_length)[index])
  successor = next_observation(episodes)
  rows = np.empty((int(episodes.episode_length[index]), 4), object)
  for step, row in enumerate(range(stop - len(rows), stop)):
    rows[step, 0], rows[step, 1] = episodes.observation[row].astype(dtype), episodes.action[row].astype(dtype)
    rows[step, 2], rows[step, 3] = dtype(episodes.reward[row]), successor[row].astype(dtype)
  return rows


def write_trajectories(directory: Path, tasks: Sequence[Episodes]) -> None:
  for task, episodes in enumerate(tasks):
    folder = directory / f"goal_idx{task}"
    folder.mkdir(parents=True)
    for index, step in enumerate(episodes.collected_at):
      np.save(folder / f"trj_evalsample0_step{step}.npy", trajectory(episodes, index), allow_pickle=True)


def edit_hdf5(path: Path, edit: Callable[[Any], Any]) -> None:
  """Changes a file as another program would, which leaves no digest."""
  import h5py

  with h5py.File(path, "a") as file:
    file.attrs.pop("content_sha256", None)
    edit(file)


def replace(file: Any, key: str, values: np.ndarray) -> None:
  del file[key]
  file.create_dataset(key, data=values)


def as_others_write(path: Path, **options: Any) -> None:
  """Copies the data of a file into one without digest, checksums, attributes and keys of ours."""
  import h5py

  copy = path.with_suffix(".copy")
  with h5py.File(path) as old, h5py.File(copy, "w") as new:

    def visit(name: str, found: Any) -> None:
      if isinstance(found, h5py.Dataset) and "collected_at" not in name:
        new.create_dataset(name, data=found[()], **(options if found.shape else {}))

    old.visititems(visit)
  copy.replace(path)


def make_source(name: str, directory: Path, tasks: Sequence[Episodes] = TASKS) -> list[Episodes]:
  """Writes a source; returns what reading it must give."""
  if name == "epoch_npy":
    write_trajectories(directory, tasks)
    return [episodes._replace(terminal=np.zeros_like(episodes.terminal)) for episodes in tasks]
  if name == "pickle":
    write_pickles(directory, tasks)
    return [own_order(episodes) for episodes in tasks]
  write = FORMATS[name].write
  assert write is not None
  write(directory, tasks, make_manifest(len(tasks), discount=DISCOUNT))
  return list(tasks)


def data_files(directory: Path) -> list[Path]:
  """All files that reading needs, in a fixed order."""
  found = [path for path in directory.rglob("*") if path.suffix in (".hdf5", ".pkl", ".npy")]
  hdf5 = [path for path in found if path.suffix == ".hdf5"]
  return sorted(hdf5 or found)


def read(name: str, directory: Path, **options: Any) -> list[Episodes]:
  return FORMATS[name].read([directory], ReadOptions(**options)).episodes
