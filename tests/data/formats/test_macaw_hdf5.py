import pickle

import numpy as np
import pytest
from format_sources import (
  DISCOUNT,
  TASKS,
  as_others_write,
  assert_same,
  edit_hdf5,
  make_episodes,
  make_source,
  own_order,
  read,
  replace,
)
from small_dataset import make_manifest

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.formats.hdf5 import open_hdf5
from macaw_jax.data.manifest import DatasetError

h5py = pytest.importorskip("h5py")
KEYS = ("obs", "actions", "next_obs", "rewards", "mc_rewards", "terminals", "terminal_obs", "terminal_discounts")


@pytest.fixture
def path(tmp_path):
  """One task, as the released code writes it."""
  make_source("macaw_hdf5", tmp_path / "source", TASKS[:1])
  as_others_write(tmp_path / "source/task_00.hdf5", compression="lzf")
  return tmp_path / "source/task_00.hdf5"


def ring(episodes, size, discount=DISCOUNT):
  """A buffer of `size` rows into which episodes are written one after the other, each backwards in time."""
  rows = {key: [None] * size for key in KEYS}
  place, stored, start = 0, 0, 0
  owner = [None] * size
  for index, length in enumerate(episodes.episode_length):
    final = episodes.final_observation[index]
    mc_reward, power, successor = 0.0, 1.0, final
    for step in range(start + length - 1, start - 1, -1):
      mc_reward, power = float(episodes.reward[step]) + discount * mc_reward, discount * power
      values = (
        episodes.observation[step],
        episodes.action[step],
        successor,
        [episodes.reward[step]],
        [mc_reward],
        [episodes.terminal[index] and step == start + length - 1],
        final,
        [power],
      )
      for key, value in zip(KEYS, values, strict=True):
        rows[key][place] = value
      owner[place], successor = index, episodes.observation[step]
      place, stored = (place + 1) % size, min(stored + 1, size)
    start += length
  arrays = {key: np.array(values[:stored], bool if key == "terminals" else np.float32) for key, values in rows.items()}
  survived = [index for index, length in enumerate(episodes.episode_length) if owner.count(index) == length]
  return arrays, survived, stored


def write_buffer(path, arrays, discount=DISCOUNT):
  with h5py.File(path, "w") as file:
    for key, values in arrays.items():
      file.create_dataset(key, data=values, compression="lzf")
    file.create_dataset("discount_factor", data=discount)


def select(episodes, chosen):
  starts = np.cumsum(episodes.episode_length) - episodes.episode_length
  rows = np.concatenate([np.arange(starts[index], starts[index] + episodes.episode_length[index]) for index in chosen])
  parts = {name: getattr(episodes, name)[rows] for name in ("observation", "action", "reward")}
  whole = {name: getattr(episodes, name)[chosen] for name in ("episode_length", "final_observation", "terminal")}
  return own_order(episodes._replace(**parts, **whole))


def test_layout_by_hand(tmp_path):
  # Episodes of rewards (1, 2) and (4) at discount 1/2: returns (2, 2) and 4, each episode backwards.
  episodes = make_episodes((2, 1), terminal=(1,))._replace(reward=np.array([1, 2, 4], np.float32))
  arrays, _, _ = ring(episodes, 3, discount=0.5)
  np.testing.assert_array_equal(arrays["mc_rewards"], [[2], [2], [4]])
  write_buffer(tmp_path / "ring.hdf5", arrays, 0.5)
  assert_same(read("macaw_hdf5", tmp_path), [own_order(episodes)])

  FORMATS["macaw_hdf5"].write(tmp_path / "ours", [episodes], make_manifest(1, discount=0.5))
  with open_hdf5(tmp_path / "ours/task_00.hdf5") as file:
    np.testing.assert_array_equal(file.array("rewards"), [[2], [1], [4]])
    np.testing.assert_array_equal(file.array("mc_rewards"), [[2], [2], [4]])
    np.testing.assert_array_equal(file.array("terminal_discounts"), [[0.5], [0.25], [0.5]])
    np.testing.assert_array_equal(file.array("terminals"), [[False], [False], [True]])
    np.testing.assert_array_equal(file.array("obs"), episodes.observation[[1, 0, 2]])
    np.testing.assert_array_equal(
      file.array("next_obs"),
      np.stack([episodes.final_observation[0], episodes.observation[1], episodes.final_observation[1]]),
    )
    np.testing.assert_array_equal(file.array("terminal_obs"), episodes.final_observation[[0, 0, 1]])
    assert file.array("discount_factor") == 0.5


@pytest.mark.parametrize("discount", [0.5, 0.99, 1.0])
def test_a_ring_is_put_in_order_and_its_cut_episode_dropped(tmp_path, discount):
  rng = np.random.default_rng(1)
  cut = 0
  for case in range(40):
    lengths = tuple(int(length) for length in rng.integers(1, 8, rng.integers(2, 9)))
    episodes = make_episodes(lengths, task=case, terminal=tuple(np.flatnonzero(rng.random(len(lengths)) < 0.3)))
    size = int(rng.integers(max(lengths) + 1, sum(lengths) + 3))
    arrays, survived, stored = ring(episodes, size, discount)
    write_buffer(tmp_path / "ring.hdf5", arrays, discount)
    imported = FORMATS["macaw_hdf5"].read([tmp_path / "ring.hdf5"], ReadOptions())
    expected = select(episodes, survived)
    left_over = stored - int(expected.episode_length.sum())
    if left_over:
      cut += 1
      assert imported.notes == (
        f"task 0: dropped {left_over} rows left of an episode that the ring buffer had overwritten",
      )
      assert_same(imported.episodes, [expected])
    else:  # Nothing says where the oldest data begin.
      rewards = np.concatenate([expected.reward] * 2).tolist()
      found = imported.episodes[0].reward.tolist()
      assert any(rewards[row : row + len(found)] == found for row in range(len(found)))
      assert len(found) == stored
  assert cut > 10


def test_an_episode_that_runs_over_the_end_of_a_ring_is_put_together(tmp_path):
  # Of 3, 3 and 2 steps in 5 rows: the first is gone, and the second lies in rows 3, 4 and 0.
  episodes = make_episodes((3, 3, 2))
  arrays, survived, _ = ring(episodes, 5)
  write_buffer(tmp_path / "ring.hdf5", arrays)
  assert survived == [1, 2]
  assert_same(read("macaw_hdf5", tmp_path), [select(episodes, [2, 1])])


@pytest.mark.parametrize("ends", ["elsewhere", "at the next start", "alike"])
def test_episodes_from_one_start_are_told_apart_wherever_they_end(tmp_path, ends):
  episodes = make_episodes((3, 4, 2))
  observation, final = episodes.observation.copy(), episodes.final_observation.copy()
  observation[[0, 3, 7]] = observation[0]
  final[:] = {"elsewhere": final, "at the next start": observation[0], "alike": 9.0}[ends]
  episodes = episodes._replace(observation=observation, final_observation=final)
  arrays, _, _ = ring(episodes, 9)
  write_buffer(tmp_path / "ring.hdf5", arrays)
  # Where episodes end at the next start, a reset within the last step would look the same.
  autoreset = "none" if ends == "at the next start" else None
  assert_same(read("macaw_hdf5", tmp_path, autoreset=autoreset), [own_order(episodes)])


def test_the_tail_of_a_buffer_loses_its_first_episode(tmp_path):
  arrays, _, _ = ring(TASKS[0], 10)
  write_buffer(tmp_path / "tail.hdf5", {key: values[2:] for key, values in arrays.items()})
  imported = FORMATS["macaw_hdf5"].read([tmp_path / "tail.hdf5"], ReadOptions())
  assert_same(imported.episodes, [select(TASKS[0], [1, 2, 3])])
  assert imported.notes == ("task 0: dropped 2 rows left of an episode that the ring buffer had overwritten",)


def test_a_buffer_without_a_whole_episode_is_an_error(tmp_path):
  arrays, _, _ = ring(TASKS[0], 10)
  write_buffer(tmp_path / "tail.hdf5", {key: values[2:4] for key, values in arrays.items()})
  with pytest.raises(DatasetError, match="neither in row 0"):
    read("macaw_hdf5", tmp_path)


# What contradicts itself. Rows of episodes in the file: 0 to 3, 4 and 5, 6, 7 to 9.


@pytest.mark.parametrize("row", range(10))
@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("obs", "actions", "terminals")])
def test_a_changed_number_is_an_error_that_names_its_row_or_the_next(path, key, row):
  def edit(file):
    values = file[key][()]
    values[row, 0] += 0.01
    replace(file, key, values)

  edit_hdf5(path, edit)
  with pytest.raises(DatasetError, match=rf"task_00\.hdf5: key '\w+': expected .* in row ({row}|{row + 1})$"):
    read("macaw_hdf5", path.parent)


@pytest.mark.parametrize("row", [1, 2, 3, 5, 8, 9])
def test_a_terminal_within_an_episode_is_an_error(path, row):
  edit_hdf5(path, lambda file: file["terminals"].__setitem__((row, 0), True))
  with pytest.raises(DatasetError, match=f"key 'terminals': expected true on the first row .* in row {row}"):
    read("macaw_hdf5", path.parent)


def test_rewards_of_another_discount_are_an_error(path):
  edit_hdf5(path, lambda file: replace(file, "discount_factor", np.float64(0.95)))
  with pytest.raises(DatasetError, match=r"key 'terminal_obs'|key '\w+': expected .* row 0"):
    read("macaw_hdf5", path.parent)


@pytest.mark.parametrize("row", range(9))
def test_rows_out_of_order_are_an_error(path, row):
  def edit(file):
    for key in KEYS:
      values = file[key][()]
      values[[row, row + 1]] = values[[row + 1, row]]
      replace(file, key, values)

  edit_hdf5(path, edit)
  with pytest.raises(DatasetError, match=r"task_00\.hdf5: key '\w+': expected .* in row [0-9]$"):
    read("macaw_hdf5", path.parent)


@pytest.mark.parametrize("row", range(1, 9))
def test_a_missing_row_is_an_error_or_a_missing_end(path, row):
  def edit(file):
    for key in KEYS:
      replace(file, key, np.delete(file[key][()], row, axis=0))

  edit_hdf5(path, edit)
  try:
    imported = FORMATS["macaw_hdf5"].read([path], ReadOptions())
  except DatasetError:
    return
  # The row that is gone was the first of an episode: one of one step (6), or one whose end is then overwritten (4, 7).
  # Or it was the last: an episode that begins a step later (3, 5).
  assert row in (3, 4, 5, 6, 7)
  assert bool(imported.notes) == (row in (4, 7))


# Parameters.


def test_parameters_come_from_one_pickled_list(tmp_path):
  make_source("macaw_hdf5", tmp_path / "source")
  mass = np.array([[1.0, 2.0]], np.float32)
  (tmp_path / "tasks.pkl").write_bytes(pickle.dumps([{"velocity": np.float64(1.5)}, {"direction": -1}, {"mass": mass}]))
  options = ReadOptions(tasks_file=tmp_path / "tasks.pkl")
  imported = FORMATS["macaw_hdf5"].read([tmp_path / "source"], options)
  assert imported.parameters == [{"velocity": 1.5}, {"direction": -1}, {"mass": [[1.0, 2.0]]}]
  assert imported.files[-1] == tmp_path / "tasks.pkl"


def test_parameters_come_from_the_pickles_beside_the_buffers(tmp_path):
  make_source("macaw_hdf5", tmp_path / "source")
  options = ReadOptions(tasks_file=tmp_path / "source")
  imported = FORMATS["macaw_hdf5"].read([tmp_path / "source"], options)
  assert imported.parameters == [{"speed": 0.0}, {"speed": 0.5}, {"speed": 1.0}]
  assert len(imported.files) == 6


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ([{}], "expected parameters of 3 tasks, got 1"),
    ({"velocity": 1.0}, "expected a list or array under each name, with an entry for each task"),
    ([{}, {}, 3], "expected a list of dicts, a dict of lists, or an array with a row for each task, got list"),
    ([{}, {}, {"velocity": "fast"}], "key 'velocity': expected a finite number or a list of them, got 'fast'"),
    ([{}, {}, {"velocity": float("nan")}], "key 'velocity': expected a finite number"),
    ([{}, {}, {"velocity": 10**400}], "key 'velocity': expected a finite number"),
    ([{}, {}, {1: 2.0}], "expected names of task parameters, got 1"),
  ],
)
def test_other_parameters_are_an_error(tmp_path, content, message):
  make_source("macaw_hdf5", tmp_path / "source")
  (tmp_path / "tasks.pkl").write_bytes(pickle.dumps(content))
  options = ReadOptions(tasks_file=tmp_path / "tasks.pkl")
  with pytest.raises(DatasetError, match=f"tasks.pkl: {message}"):
    FORMATS["macaw_hdf5"].read([tmp_path / "source"], options)
