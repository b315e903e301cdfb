import numpy as np
import pytest
from format_sources import TASKS, as_others_write, assert_same, edit_hdf5, make_source, own_order, read, replace

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.manifest import DatasetError

h5py = pytest.importorskip("h5py")
EPISODES = TASKS[0]  # rows 0 to 3; 4 and 5, ended by the task; 6, likewise; 7 to 9


@pytest.fixture
def path(tmp_path):
  """One task, as others write it."""
  make_source("d4rl_hdf5", tmp_path / "source", [EPISODES])
  as_others_write(tmp_path / "source/task_00.hdf5")
  return tmp_path / "source/task_00.hdf5"


def delete(*keys):
  def edit(file):
    for key in keys:
      del file[key]

  return edit


def test_layout_by_hand(tmp_path):
  make_source("d4rl_hdf5", tmp_path / "source", [EPISODES])
  with h5py.File(tmp_path / "source/task_00.hdf5") as file:
    np.testing.assert_array_equal(np.flatnonzero(file["terminals"]), [5, 6])
    np.testing.assert_array_equal(np.flatnonzero(file["timeouts"]), [3, 9])
    np.testing.assert_array_equal(file["observations"], EPISODES.observation)
    np.testing.assert_array_equal(file["next_observations"][0], EPISODES.observation[1])
    np.testing.assert_array_equal(file["next_observations"][5], EPISODES.final_observation[1])
    assert file["rewards"].shape == (10,)
    np.testing.assert_array_equal(file["metadata/collected_at"], EPISODES.collected_at)


def test_without_timeouts_episodes_end_where_observations_do_not_go_on(path):
  edit_hdf5(path, delete("timeouts"))
  assert_same(read("d4rl_hdf5", path), [own_order(EPISODES)])


def test_without_next_observations_the_last_step_before_a_time_limit_is_dropped(path):
  edit_hdf5(path, delete("next_observations"))
  imported = FORMATS["d4rl_hdf5"].read([path], ReadOptions())
  episodes = imported.episodes[0]
  np.testing.assert_array_equal(episodes.episode_length, [3, 2, 1, 2])
  np.testing.assert_array_equal(episodes.observation, EPISODES.observation[[0, 1, 2, 4, 5, 6, 7, 8]])
  np.testing.assert_array_equal(episodes.reward, EPISODES.reward[[0, 1, 2, 4, 5, 6, 7, 8]])
  np.testing.assert_array_equal(episodes.final_observation, EPISODES.observation[[3, 5, 6, 9]])
  np.testing.assert_array_equal(episodes.terminal, [False, True, True, False])
  assert imported.notes == (
    "task 0: no next observations: dropped the last step of 2 episodes that the time limit ended, and repeated the "
    "last observation of 2 that the task ended",
  )


def test_without_timeouts_and_next_observations_episodes_are_cut_at_the_horizon(path):
  edit_hdf5(path, delete("next_observations", "timeouts"))
  for horizon in (None, 4):
    with pytest.raises(
      DatasetError, match=r"task_00\.hdf5: neither timeouts nor .*; expected --episode_lengths, or --h"
    ):
      read("d4rl_hdf5", path, horizon=horizon)
  episodes = read("d4rl_hdf5", path, horizon=4, autoreset="same_step")[0]
  # Rows 0 to 3, 4 and 5 (terminal), 6 (terminal), 7 to 9.
  np.testing.assert_array_equal(episodes.episode_length, [3, 2, 1, 2])
  # Rows 0 to 2, 3 to 5 (terminal), 6 (terminal), 7 to 9.
  np.testing.assert_array_equal(
    read("d4rl_hdf5", path, horizon=3, autoreset="same_step")[0].episode_length, [2, 3, 1, 2]
  )


def test_episodes_of_one_step_without_next_observations_are_an_error(tmp_path):
  make_source("d4rl_hdf5", tmp_path / "source", [TASKS[1]])
  edit_hdf5(tmp_path / "source/task_00.hdf5", delete("next_observations"))
  with pytest.raises(DatasetError, match="expected episodes of more than one step"):
    read("d4rl_hdf5", tmp_path / "source")


def test_what_else_the_released_files_hold_is_not_read(path):
  def edit(file):
    file.create_dataset("infos/qpos", data=np.zeros((3, 2)))
    file.create_dataset("infos/action_log_probs", data=np.full(10, np.nan))
    file.create_dataset("metadata/algorithm", data="SAC", dtype=h5py.string_dtype())
    file.create_dataset("metadata/policy/fc0/weight", data=np.ones((2, 2)))

  edit_hdf5(path, edit)
  assert_same(read("d4rl_hdf5", path), [own_order(EPISODES)])


def test_an_unfinished_last_episode_is_kept(path):
  edit_hdf5(path, lambda file: file["timeouts"].__setitem__(9, False))
  assert_same(read("d4rl_hdf5", path), [own_order(EPISODES)])


@pytest.mark.parametrize("row", [0, 1, 2, 4, 7, 8])
def test_a_step_that_does_not_begin_where_the_last_one_led_is_an_error(path, row):
  edit_hdf5(path, lambda file: file["next_observations"].__setitem__((row, 2), 7.0))
  with pytest.raises(DatasetError, match=f"key 'next_observations': expected the observation of the row below.*{row}$"):
    read("d4rl_hdf5", path)


@pytest.mark.parametrize("row", [3, 5, 6])
def test_an_end_that_is_not_marked_is_an_error(path, row):
  def edit(file):
    file["timeouts"][row] = file["terminals"][row] = False

  edit_hdf5(path, edit)
  with pytest.raises(DatasetError, match=f"key 'next_observations': .* row {row}$"):
    read("d4rl_hdf5", path)


def test_double_precision_becomes_single(path):
  def edit(file):
    for key in ("observations", "next_observations", "actions", "rewards"):
      replace(file, key, file[key][()].astype(np.float64))

  edit_hdf5(path, edit)
  assert_same(read("d4rl_hdf5", path), [own_order(EPISODES)])


@pytest.mark.parametrize(
  ("key", "values", "message"),
  [
    ("observations", np.zeros(10, np.float32), r"key 'observations': expected shape \[rows, columns\], got \(10,\)"),
    ("observations", np.zeros((0, 3), np.float32), r"key 'observations': expected shape"),
    (
      "observations",
      np.full((10, 3), 2**24 + 1),
      "key 'observations': expected whole numbers up to 16,777,216, which .*",
    ),
    (
      "observations",
      np.zeros((10, 3), np.longdouble),
      "key 'observations': expected numbers of at most 64 bits, got float",
    ),
    ("observations", np.array([b"a"] * 10), "key 'observations': expected an array of numbers"),
    ("actions", np.zeros((9, 2), np.float32), r"key 'actions': expected shape \[10, columns\], got \(9, 2\)"),
    (
      "actions",
      np.full((10, 2), 1.5, np.float32),
      r"key 'actions': expected actions in \[-1, 1\] \(.*--action_bound=<bound>\), got 1\.5 in row 0, column 0$",
    ),
    ("actions", np.full((10, 2), np.nan, np.float32), "key 'actions': expected finite float32 values.* in row 0"),
    ("rewards", np.full(10, 1e300), "key 'rewards': expected finite float32 values, got 1e.300 in row 0"),
    ("rewards", np.zeros((10, 2), np.float32), r"key 'rewards': expected shape \[10\] or \[10, 1\], got \(10, 2\)"),
    ("next_observations", np.zeros((10, 4), np.float32), r"key 'next_observations': expected shape \[10, 3\]"),
    ("terminals", np.full(10, 2), "key 'terminals': expected booleans, or zeros and ones, got 2 in row 0"),
    ("terminals", np.float32(1.0), r"key 'terminals': expected shape \[10\] or \[10, 1\], got \(\)"),
  ],
)
def test_other_arrays_are_errors_that_name_file_key_and_row(path, key, values, message):
  edit_hdf5(path, lambda file: replace(file, key, values))
  with pytest.raises(DatasetError, match=rf"task_00\.hdf5: {message}"):
    read("d4rl_hdf5", path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_a_missing_key_is_named(path, key):
  edit_hdf5(path, delete(key))
  with pytest.raises(DatasetError, match=rf"task_00\.hdf5: key '{key}' is missing; found \["):
    read("d4rl_hdf5", path)
