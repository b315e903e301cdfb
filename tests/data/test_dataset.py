import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from small_dataset import (
  accept_file,
  edit_arrays,
  edit_manifest,
  make_episodes,
  make_manifest,
  write_small,
)

from macaw_jax.data.dataset import (
  DatasetError,
  Episodes,
  discounted_returns,
  load_dataset,
  read_episodes,
  write_episodes,
)
from macaw_jax.data.manifest import read_manifest


@pytest.fixture
def directory(tmp_path):
  write_small(tmp_path / "small")
  return tmp_path / "small"


# Writing.


def test_episodes_read_are_the_episodes_written(tmp_path):
  written = write_small(tmp_path / "small")
  manifest = read_manifest(tmp_path / "small")
  for task, episodes in enumerate(written):
    read = read_episodes(tmp_path / "small", manifest, task)
    for name in Episodes._fields:
      np.testing.assert_array_equal(getattr(read, name), getattr(episodes, name))
      assert getattr(read, name).dtype == getattr(episodes, name).dtype


def test_the_same_data_give_the_same_bytes(tmp_path):
  for name in ("one", "two"):
    write_small(tmp_path / name)
  for file in ("task_00.npz", "manifest.json"):
    assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_arrays_in_column_order_can_be_written(tmp_path):
  episodes = make_episodes((4, 2))
  column_order = episodes._replace(observation=np.asfortranarray(episodes.observation))
  manifest = write_episodes(tmp_path / "small", [column_order], make_manifest(1))
  np.testing.assert_array_equal(read_episodes(tmp_path / "small", manifest, 0).observation, episodes.observation)


def test_writing_returns_the_manifest_that_reading_gives(tmp_path):
  manifest = make_manifest(2, train_tasks=[0], test_tasks=[1])
  written = write_episodes(tmp_path / "a" / "b", [make_episodes((3,)), make_episodes((5, 1))], manifest)
  assert written == read_manifest(tmp_path / "a" / "b")


def test_a_dataset_is_never_overwritten(directory):
  before = {path.name: path.read_bytes() for path in directory.iterdir()}
  with pytest.raises(DatasetError, match="small: exists already"):
    write_small(directory, ((1,), (2,)))
  assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
  synced = []

  def disk_full(descriptor):
    synced.append(descriptor)
    if len(synced) == 2:
      raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", disk_full)
  with pytest.raises(DatasetError, match=r"small: could not be written.*No space left"):
    write_small(tmp_path / "small")
  assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_of_data_that_do_not_fit_the_manifest(tmp_path):
  episodes = make_episodes((3, 2))
  for changed, message in [
    (episodes._replace(reward=episodes.reward.astype(np.float64)), "task_00.npz: key 'reward'"),
    (episodes._replace(action=3 * episodes.action), "key 'action'"),
    (episodes._replace(observation=list(episodes.observation)), "key 'observation'"),
  ]:
    with pytest.raises(DatasetError, match=message):
      write_episodes(tmp_path / "small", [changed], make_manifest(1))
  with pytest.raises(DatasetError, match="2 tasks, got 1"):
    write_episodes(tmp_path / "small", [episodes], make_manifest(2))
  assert list(tmp_path.iterdir()) == []


# Loading.


def test_returns_by_hand():
  # Two episodes of rewards (1, 2, 4) and (8), discount 1/2: 1 + 2/2 + 4/4 = 3, 2 + 4/2 = 4, 4, 8.
  returns = discounted_returns(np.array([1.0, 2.0, 4.0, 8.0], np.float32), np.array([3, 1], np.int32), 0.5)
  np.testing.assert_array_equal(returns, [3.0, 4.0, 4.0, 8.0])
  assert returns.dtype == np.float64


def test_rows_by_hand(tmp_path):
  episodes = Episodes(
    observation=np.array([[0], [1], [2], [3]], np.float32),
    action=np.array([[0.1], [0.2], [0.3], [0.4]], np.float32),
    reward=np.array([1, 2, 4, 8], np.float32),
    episode_length=np.array([3, 1], np.int32),
    final_observation=np.array([[100], [101]], np.float32),
    terminal=np.array([False, True]),
    collected_at=np.array([0, 3], np.int64),
  )
  write_episodes(tmp_path / "small", [episodes], make_manifest(1, observation_size=1, action_size=1))
  dataset = load_dataset(tmp_path / "small", tasks=(0,))
  for name, expected in {
    "observation": [[[0], [1], [2], [3]]],
    "action": episodes.action[None],
    "reward": [[1, 2, 4, 8]],
    "next_observation": [[[1], [2], [100], [101]]],
    "terminal": [[0, 0, 0, 1]],
    "last": [[0, 0, 1, 1]],
    "mc_return": [[3, 4, 4, 8]],
    # The first episode ran out of time; the second ended in a terminal state, after which nothing follows.
    "final_discount": [[0.125, 0.25, 0.5, 0]],
    "episode_index": [[0, 0, 0, 1]],
    "final_observation": [[[100], [101]]],
    "size": [4],
  }.items():
    array = getattr(dataset, name)
    np.testing.assert_array_equal(array, np.array(expected, array.dtype), err_msg=name)
    assert isinstance(array, np.ndarray)
    assert array.dtype == (np.int32 if name in ("episode_index", "size") else np.float32)


def test_tasks_of_unequal_sizes_are_padded_in_the_order_of_the_request(directory):
  dataset = load_dataset(directory, tasks=(2, 0))
  assert dataset.reward.shape == (2, 15)
  assert dataset.final_observation.shape == (2, 3, 3)
  np.testing.assert_array_equal(dataset.size, [15, 9])
  np.testing.assert_array_equal(dataset.observation[0, :, 0], np.arange(15))
  np.testing.assert_array_equal(dataset.observation[0, :, 1], 2)
  np.testing.assert_array_equal(dataset.observation[1, :9, 0], np.arange(9))
  np.testing.assert_array_equal(dataset.observation[1, 9:], 0)
  np.testing.assert_array_equal(dataset.mc_return[1, 9:], 0)


@pytest.mark.parametrize("skip", [2, 3, 7])
def test_skipped_rows_change_nothing_of_those_kept(directory, skip):
  whole = load_dataset(directory, tasks=(0, 1, 2))
  thin = load_dataset(directory, tasks=(0, 1, 2), skip=skip)
  for task, size in enumerate(whole.size):
    kept = np.arange(0, size, skip)
    assert thin.size[task] == len(kept)
    for name in ("observation", "action", "reward", "next_observation", "terminal", "mc_return", "final_discount"):
      np.testing.assert_array_equal(getattr(thin, name)[task, : len(kept)], getattr(whole, name)[task, kept])
    index, whole_index = thin.episode_index[task, : len(kept)], whole.episode_index[task, kept]
    np.testing.assert_array_equal(thin.final_observation[task, index], whole.final_observation[task, whole_index])


def test_the_last_kept_row_of_an_episode_is_its_last(directory):
  # Episodes of task 0 start at rows 0, 4, 6 and end at 9; every third row is 0 3 | | 6.
  thin = load_dataset(directory, tasks=(0,), skip=3)
  np.testing.assert_array_equal(thin.observation[0, :, 0], [0, 3, 6])
  np.testing.assert_array_equal(thin.last, [[0, 1, 1]])
  # Every second row is 0 2 | 4 | 6 8.
  np.testing.assert_array_equal(load_dataset(directory, tasks=(0,), skip=2).last, [[0, 1, 1, 0, 1]])


@pytest.mark.parametrize(
  ("quality", "transitions", "expected"),
  [
    # Task 0 has episodes of rows 0-3, 4-5, 6-8.
    ("start", 4, range(0, 4)),
    ("start", 5, range(0, 6)),
    ("end", 3, range(6, 9)),
    ("end", 4, range(4, 9)),
    ("middle", 2, range(0, 4)),  # (9 - 2) // 2 = 3, in the first episode
    ("middle", 1, range(4, 6)),  # (9 - 1) // 2 = 4, in the second
    ("middle", 5, range(0, 6)),
    ("start", 9, range(0, 9)),
    ("middle", 9, range(0, 9)),
    ("end", 9, range(0, 9)),
  ],
)
def test_quality_chooses_whole_episodes(directory, quality, transitions, expected):
  dataset = load_dataset(directory, tasks=(0,), quality=quality, transitions_per_task=transitions)
  np.testing.assert_array_equal(dataset.observation[0, :, 0], list(expected))
  whole = load_dataset(directory, tasks=(0,))
  np.testing.assert_array_equal(dataset.mc_return[0], whole.mc_return[0, list(expected)])
  final = dataset.final_observation[0, dataset.episode_index[0]]
  np.testing.assert_array_equal(final, whole.final_observation[0, whole.episode_index[0, list(expected)]])


def test_equal_episodes_give_exactly_the_middle(tmp_path):
  write_small(tmp_path / "small", [(5,) * 9])
  dataset = load_dataset(tmp_path / "small", tasks=(0,), quality="middle", transitions_per_task=15, skip=7)
  np.testing.assert_array_equal(dataset.observation[0, :, 0], [15, 22, 29])


@pytest.mark.parametrize(
  ("request_", "named"),
  [
    ({"tasks": ()}, "tasks:"),
    ({"tasks": (0, 0)}, "tasks:"),
    ({"tasks": (0, 3)}, "tasks: .*got 3"),
    ({"tasks": (-1,)}, "tasks: .*got -1"),
    ({"tasks": ("0",)}, "tasks: .*got '0'"),
    ({"tasks": (0,), "quality": "best"}, "quality:"),
    ({"tasks": (0,), "quality": "end"}, "transitions_per_task:"),
    ({"tasks": (0,), "transitions_per_task": 5}, "transitions_per_task:"),
    ({"tasks": (0,), "quality": "end", "transitions_per_task": 0}, "transitions_per_task:"),
    ({"tasks": (0,), "quality": "end", "transitions_per_task": 2.0}, "transitions_per_task:"),
    ({"tasks": (0,), "skip": 0}, "skip:"),
    ({"tasks": (0, 1), "quality": "end", "transitions_per_task": 7}, r"task_01\.npz: key 'reward'"),
  ],
)
def test_a_request_that_cannot_be_met_is_refused(directory, request_, named):
  with pytest.raises(DatasetError, match=named):
    load_dataset(directory, **request_)


# Damage. Task 1 has episodes of 1 and 5 steps.


def set_rows(key, rows, value):
  def edit(arrays):
    arrays[key][rows] = value

  return edit


def set_array(key, change):
  def edit(arrays):
    arrays[key] = change(arrays[key])

  return edit


@pytest.mark.parametrize(
  ("edit", "named"),
  [
    (lambda arrays: arrays.pop("reward"), "reward.npy"),
    (lambda arrays: arrays.update(extra=np.zeros(2)), "extra.npy"),
    (set_array("reward", lambda reward: reward[:, None]), "key 'reward'"),
    (set_array("observation", np.ravel), "key 'observation'"),
    (set_array("observation", np.asfortranarray), "key 'observation'"),
    (set_array("reward", np.float64), "key 'reward'"),
    (set_array("action", lambda action: action.astype(">f4")), "key 'action'"),
    (set_array("terminal", np.int8), "key 'terminal'"),
    (set_array("episode_length", np.int64), "key 'episode_length'"),
    (set_array("reward", lambda reward: reward.astype(object)), "key 'reward'"),
    (set_array("reward", lambda reward: reward[:5]), "key 'reward'"),
    (set_array("observation", lambda rows: rows[:, :2]), "key 'observation'"),
    (set_array("action", lambda rows: rows[:, :1]), "key 'action'"),
    (set_array("final_observation", lambda rows: rows[:1]), "key 'final_observation'"),
    (set_array("terminal", lambda rows: rows[:0]), "key 'terminal'"),
    (set_rows("observation", 4, np.nan), "key 'observation': .*row 4, column 0"),
    (set_rows("reward", 2, np.inf), "key 'reward': .*row 2"),
    (set_rows("final_observation", 1, -np.inf), "key 'final_observation': .*row 1"),
    (set_rows("action", (3, 1), 1.001), "key 'action': .*row 3, column 1$"),
    (set_rows("episode_length", 1, 4), "key 'episode_length': .*got 5"),
    (set_rows("episode_length", slice(None), (0, 6)), "key 'episode_length': .*row 0"),
    (set_rows("episode_length", 1, 6), "key 'episode_length': .*row 1"),
    (set_rows("collected_at", 0, 99), "key 'collected_at': .*row 1"),
    (set_rows("collected_at", 0, -1), "key 'collected_at': .*row 0"),
  ],
)
def test_a_damaged_array_is_named(directory, edit, named):
  edit_arrays(directory, 1, edit)
  with pytest.raises(DatasetError, match=r"task_01.npz: .*" + named):
    load_dataset(directory, tasks=(0, 1))
  load_dataset(directory, tasks=(0, 2))


def test_the_manifest_decides_on_sizes(directory):
  edit_manifest(directory, lambda document: document.update(observation_size=4))
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation'"):
    load_dataset(directory, tasks=(0,))
  edit_manifest(directory, lambda document: document.update(observation_size=3, horizon=3))
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'episode_length': .*row 0"):
    load_dataset(directory, tasks=(0,))


def test_missing_and_unknown_files_are_named(directory):
  (directory / "task_02.npz").rename(directory / "task_03.npz")
  with pytest.raises(DatasetError, match=r"missing \['task_02.npz'\], unknown \['task_03.npz'\]"):
    load_dataset(directory, tasks=(0,))
  with pytest.raises(DatasetError, match=r"task_02.npz: cannot be read"):
    read_episodes(directory, read_manifest(directory), 2)


def test_a_changed_file_does_not_match_its_hash(directory):
  shutil.copy(directory / "task_00.npz", directory / "task_01.npz")
  with pytest.raises(DatasetError, match=r"task_01.npz: expected SHA-256"):
    load_dataset(directory, tasks=(1,))


def test_compressed_files_are_refused(directory):
  with np.load(directory / "task_00.npz") as file:
    np.savez_compressed(directory / "task_00.npz", **{key: file[key] for key in file.files})
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation'"):
    load_dataset(directory, tasks=(0,))


def replace_member(path, key, content):
  with zipfile.ZipFile(path) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  members[f"{key}.npy"] = content
  with zipfile.ZipFile(path, "w") as archive:
    for name, data in members.items():
      archive.writestr(name, data)


@pytest.mark.parametrize("shape", [(10**15, 3), (2**62, 2**62), (-9, -3), (-9, 3), (9, 2)])
def test_a_declared_shape_is_not_believed(directory, shape):
  content = io.BytesIO()
  np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
  content.write(np.zeros((9, 3), np.float32).tobytes())
  replace_member(directory / "task_00.npz", "observation", content.getvalue())
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz"):
    load_dataset(directory, tasks=(0,))


def test_a_declared_member_size_is_not_believed(directory):
  path = directory / "task_00.npz"
  content = bytearray(path.read_bytes())
  entry = content.index(b"PK\x01\x02")  # central directory; both sizes are at its bytes 20 to 28
  content[entry + 20 : entry + 28] = (0x7FFFFFF0).to_bytes(4, "little") * 2
  path.write_bytes(content)
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation'"):
    load_dataset(directory, tasks=(0,))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x03\x00", b"no array at all", b"\x80\x04N."])
def test_a_member_that_is_no_array_is_refused(directory, content):
  replace_member(directory / "task_00.npz", "reward", content)
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz"):
    load_dataset(directory, tasks=(0,))
