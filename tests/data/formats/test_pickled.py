import pickle

import numpy as np
import pytest
from format_sources import TASKS, assert_same, own_order, read, row_flags, table, write_pickles

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.manifest import DatasetError

EPISODES = TASKS[0]  # rows 0 to 3; 4 and 5, ended by the task; 6, likewise; 7 to 9


@pytest.fixture
def path(tmp_path):
  return tmp_path / "tasks.pkl"


def dump(path, content):
  path.write_bytes(pickle.dumps(content))
  return path


def test_a_file_may_hold_one_task_or_several(path):
  expected = [own_order(episodes) for episodes in TASKS]
  tables = [table(episodes) for episodes in TASKS]
  assert_same(read("pickle", dump(path, tables[0])), expected[:1])
  assert_same(read("pickle", dump(path, tables)), expected)
  assert_same(read("pickle", dump(path, {f"task {9 - index}": task for index, task in enumerate(tables)})), expected)


def test_several_files_hold_one_task_each(tmp_path):
  write_pickles(tmp_path / "source", TASKS)
  files = [tmp_path / f"source/dataset_task_{index}.pkl" for index in (2, 0)]
  assert_same(FORMATS["pickle"].read(files, ReadOptions()).episodes, [own_order(TASKS[2]), own_order(TASKS[0])])
  dump(files[0], [table(TASKS[2])])
  with pytest.raises(DatasetError, match=r"dataset_task_2\.pkl: expected a dict of arrays, got list"):
    FORMATS["pickle"].read(files, ReadOptions())


def test_rewards_and_ends_may_have_an_axis_more_and_other_names(path):
  task = table(EPISODES)
  task["dones"] = task.pop("terminals")[:, None].astype(np.float64)
  task["rewards"] = task["rewards"][:, None]
  task["infos"] = {"anything": [1]}
  assert_same(read("pickle", dump(path, task)), [own_order(EPISODES)])


def test_timeouts_mark_ends(path):
  # Two episodes that touch: only the mark tells them apart, and only the reader whether there was a reset.
  rows = {key: values[:4] for key, values in table(EPISODES).items()}
  timeouts = np.array([False, True, False, True])
  dump(path, rows | {"timeouts": timeouts})
  with pytest.raises(DatasetError, match=r"tasks\.pkl: 1 of 2 ends lead .*; say --autoreset=none .*, same_step or n"):
    read("pickle", path)
  episodes = read("pickle", path, autoreset="none")[0]
  np.testing.assert_array_equal(episodes.episode_length, [2, 2])
  np.testing.assert_array_equal(episodes.final_observation[0], EPISODES.observation[2])
  np.testing.assert_array_equal(episodes.terminal, [False, False])
  np.testing.assert_array_equal(read("pickle", dump(path, rows), autoreset="none")[0].episode_length, [4])


def test_an_end_that_no_timeout_marks_is_an_error(path):
  dump(path, table(EPISODES) | {"timeouts": np.zeros(10, bool)})
  with pytest.raises(DatasetError, match=r"key 'next_observations': expected the observation of the row below.*row 3$"):
    read("pickle", path)


def test_masks_tell_time_limits_from_terminals(path):
  every_end = row_flags(EPISODES, np.ones(4, bool))
  masks = ~every_end | row_flags(EPISODES, ~EPISODES.terminal)
  dump(path, table(EPISODES) | {"terminals": every_end, "masks": masks})
  assert_same(read("pickle", path), [own_order(EPISODES)])


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "next_observations", "terminals"])
def test_a_missing_key_is_named(path, key):
  task = table(EPISODES)
  del task[key]
  with pytest.raises(DatasetError, match=rf"tasks\.pkl: key '{key}' is missing; found \["):
    read("pickle", dump(path, task))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ([], "expected at least one task, got an empty list"),
    (3, "expected a dict of arrays, got int"),
    ({}, "key 'observations' is missing"),
    ([table(EPISODES), 3], "task 1: expected a dict of arrays, got int"),
    ([table(EPISODES), {}], "task 1: key 'observations' is missing"),
    (table(EPISODES) | {"observations": [[0.0]]}, "key 'observations': expected numbers of at most 64 bits, got list"),
    (table(EPISODES) | {"rewards": np.zeros(9)}, r"key 'rewards': expected shape \[10\] or \[10, 1\], got \(9,\)"),
    (table(EPISODES) | {"rewards": np.full(10, np.inf)}, "key 'rewards': expected finite float32 values"),
    (table(EPISODES) | {"rewards": np.full(10, -(1 << 25))}, "key 'rewards': expected whole numbers up to 16,777,216"),
    (table(EPISODES) | {"terminals": np.full(10, 0.5)}, "key 'terminals': expected booleans"),
    (table(EPISODES) | {"actions": np.full((10, 2), -2.0)}, r"key 'actions': expected actions in \[-1, 1\]"),
    (table(EPISODES) | {"actions": np.empty((10, 2), object)}, "key 'actions': expected numbers of at most 64 bits"),
  ],
)
def test_other_content_is_an_error(path, content, message):
  with pytest.raises(DatasetError, match=rf"tasks\.pkl: {message}"):
    read("pickle", dump(path, content))


def test_a_small_file_of_many_references_is_an_error(path):
  task = {key: np.zeros((20_000, 2)) for key in ("observations", "next_observations", "actions")}
  with pytest.raises(DatasetError, match="expected arrays that fit"):
    read("pickle", dump(path, [task] * 2000))
