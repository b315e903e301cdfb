import numpy as np
import pytest
from format_sources import TASKS, assert_same, make_episodes, make_source, read, trajectory, write_trajectories

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.manifest import DatasetError

EPISODES = make_episodes((4, 2, 3))


@pytest.fixture
def folder(tmp_path):
  write_trajectories(tmp_path / "source", [EPISODES])
  return tmp_path / "source/goal_idx0"


def save(path, rows):
  np.save(path, rows, allow_pickle=True)


def test_the_end_of_a_trajectory_is_a_time_limit(tmp_path):
  write_trajectories(tmp_path / "source", [make_episodes((4, 2), terminal=(0, 1))])
  np.testing.assert_array_equal(read("epoch_npy", tmp_path / "source")[0].terminal, [False, False])


def test_episodes_stand_in_the_order_of_training_steps(folder):
  # Sample 10 of step 5 comes after sample 2 of it and before step 10, whatever the order of their names.
  for path in folder.iterdir():
    path.unlink()
  for name, index in (("0_step10", 2), ("10_step5", 1), ("2_step5", 0)):
    save(folder / f"trj_evalsample{name}.npy", trajectory(EPISODES, index))
  (folder / "agent_step5.pt").write_bytes(b"weights")
  expected = EPISODES._replace(collected_at=np.array([5, 5, 10]))
  assert_same(read("epoch_npy", folder.parent), [expected])
  assert_same(read("epoch_npy", folder), [expected])


def test_episodes_of_the_mode_are_read_where_there_are_no_samples(folder):
  for path in list(folder.iterdir()):
    path.rename(folder / path.name.replace("evalsample", "eval"))
  assert_same(read("epoch_npy", folder), [EPISODES])
  save(folder / "trj_evalsample0_step7.npy", trajectory(EPISODES, 1))
  assert len(read("epoch_npy", folder)[0].episode_length) == 1


def test_tasks_stand_in_the_order_of_their_numbers(tmp_path):
  tasks = [make_episodes((2,), task=task) for task in range(11)]
  write_trajectories(tmp_path / "source", tasks)
  assert_same(read("epoch_npy", tmp_path / "source"), tasks)
  chosen = [tmp_path / "source/goal_idx10", tmp_path / "source/goal_idx2"]
  assert_same(FORMATS["epoch_npy"].read(chosen, ReadOptions()).episodes, [tasks[10], tasks[2]])


def test_numbers_may_be_of_other_types(folder):
  rows = trajectory(EPISODES, 0, np.float32)
  rows[0, 2], rows[1, 2], rows[2, 2], rows[3, 2] = 1, 2.0, np.array([3.0]), np.int64(4)
  save(folder / "trj_evalsample0_step0.npy", rows)
  reward = EPISODES.reward.copy()
  reward[:4] = [1, 2, 3, 4]
  assert_same(read("epoch_npy", folder), [EPISODES._replace(reward=reward)])


def changed(index, row, column, value):
  rows = trajectory(EPISODES, index)
  rows[row, column] = value
  return rows


def many_references():
  """A small file that, written out, is a terabyte: all rows refer to one array."""
  rows = np.empty((100_000, 4), object)
  vector, action = np.zeros(100_000), np.zeros(2)
  for row in range(len(rows)):
    rows[row] = [vector, action, 0.0, vector]
  return rows


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (trajectory(EPISODES, 0)[:, :3], r"expected an object array of shape \[steps, 4\], got \(4, 3\)"),
    (trajectory(EPISODES, 0)[:0], r"expected an object array of shape \[steps, 4\], got \(0, 4\)"),
    (np.zeros((4, 4)), r"expected an object array of shape \[steps, 4\], got float64 of \(4, 4\)"),
    (np.array(["a"]), "expected an object array"),
    (changed(0, 2, 0, np.zeros(4)), "key 'observation': expected 3 numbers a step, got 4 in row 2"),
    (changed(0, 2, 0, None), "key 'observation': expected numbers of at most 64 bits, got NoneType in row 2"),
    (changed(0, 2, 0, np.zeros(3, bool)), r"key 'observation': .* got bool of shape \(3,\) in row 2"),
    (
      changed(0, 2, 0, np.full(3, 1 << 25)),
      "key 'observation': expected whole numbers up to 16,777,216, got .* in row 2",
    ),
    (changed(0, 2, 0, np.zeros((1, 3))), r"key 'observation': .* got float64 of shape \(1, 3\) in row 2"),
    (changed(0, 2, 1, [0.0, 0.0]), "key 'action': expected numbers of at most 64 bits, got list in row 2"),
    (changed(0, 2, 1, np.array([0.0, 1.1])), r"key 'action': expected actions in \[-1, 1\].* in row 2"),
    (changed(0, 2, 2, np.nan), "key 'reward': expected finite float32 values, got nan in row 2"),
    (changed(0, 2, 2, True), "key 'reward': expected numbers of at most 64 bits, got bool in row 2"),
    (
      changed(0, 2, 2, 10**400),
      "key 'reward': expected numbers of at most 64 bits, got object of shape \\(\\) in row 2",
    ),
    (changed(0, 2, 2, np.zeros(2)), "key 'reward': expected 1 numbers a step, got 2 in row 2"),
    (changed(0, 2, 3, np.zeros(3)), "key 'next_observation': expected the observation of the row below.* in row 2"),
    (many_references(), "key 'observation': expected data that fit the size of the file, got 100000 steps"),
  ],
)
def test_other_arrays_are_errors_that_name_file_column_and_row(folder, rows, message):
  save(folder / "trj_evalsample0_step0.npy", rows)
  with pytest.raises(DatasetError, match=rf"trj_evalsample0_step0\.npy: {message}"):
    read("epoch_npy", folder)


def test_a_header_that_contradicts_the_array_is_an_error(folder):
  path = folder / "trj_evalsample0_step0.npy"
  path.write_bytes(path.read_bytes().replace(b"(4, 4)", b"(5, 4)"))
  with pytest.raises(DatasetError, match=r"expected an object array of shape \(5, 4\) as in the header, got another"):
    read("epoch_npy", folder)


def test_a_file_that_is_no_array_is_an_error(folder):
  (folder / "trj_evalsample0_step0.npy").write_bytes(b"PK\x03\x04")
  with pytest.raises(DatasetError, match=r"trj_evalsample0_step0\.npy: expected a \.npy file"):
    read("epoch_npy", folder)


def test_a_name_without_task_folders_is_an_error(tmp_path):
  make_source("epoch_npy", tmp_path / "source", TASKS[:1])
  with pytest.raises(DatasetError, match="expected a directory, found a file"):
    read("epoch_npy", tmp_path / "source/goal_idx0/trj_evalsample0_step0.npy")
