import io
import os
import random
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
  write_dataset,
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
  manifest = write_dataset(tmp_path / "small", [column_order], make_manifest(1))
  np.testing.assert_array_equal(read_episodes(tmp_path / "small", manifest, 0).observation, episodes.observation)


def test_writing_returns_the_manifest_that_reading_gives(tmp_path):
  manifest = make_manifest(2, train_tasks=[0], test_tasks=[1])
  written = write_dataset(tmp_path / "a" / "b", [make_episodes((3,)), make_episodes((5, 1))], manifest)
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
    (episodes._replace(reward=episodes.reward.astype(np.float64)), "task_00.npz: key 'reward': expected float32"),
    (episodes._replace(action=3 * episodes.action), "key 'action'"),
    (episodes._replace(observation=list(episodes.observation)), "key 'observation': expected a numpy array, got list"),
  ]:
    with pytest.raises(DatasetError, match=message):
      write_dataset(tmp_path / "small", [changed], make_manifest(1))
  with pytest.raises(DatasetError, match="expected episodes of the manifest's 2 tasks, got 1"):
    write_dataset(tmp_path / "small", [episodes], make_manifest(2))
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
  write_dataset(tmp_path / "small", [episodes], make_manifest(1, observation_size=1, action_size=1))
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
  ("request_", "message"),
  [
    ({"tasks": ()}, "tasks: expected at least one"),
    ({"tasks": (0, 0)}, "tasks: expected at least one task index, and each once"),
    ({"tasks": (0, 3)}, "tasks: expected indices from 0 to 2, got 3"),
    ({"tasks": (-1,)}, "tasks: expected indices from 0 to 2, got -1"),
    ({"tasks": ("0",)}, "tasks: expected indices from 0 to 2, got '0'"),
    ({"tasks": (0,), "quality": "best"}, "quality: expected one of"),
    ({"tasks": (0,), "quality": "end"}, "transitions_per_task: expected None with quality"),
    ({"tasks": (0,), "transitions_per_task": 5}, "transitions_per_task: expected None with quality"),
    (
      {"tasks": (0,), "quality": "end", "transitions_per_task": 0},
      "transitions_per_task: expected an integer of at least 1",
    ),
    ({"tasks": (0,), "quality": "end", "transitions_per_task": 2.0}, "transitions_per_task: expected an integer"),
    ({"tasks": (0,), "skip": 0}, "skip: expected an integer of at least 1, got 0"),
    (
      {"tasks": (0, 1), "quality": "end", "transitions_per_task": 7},
      "task_01.npz: key 'reward': expected 7 transitions or more, got 6",
    ),
  ],
)
def test_a_request_that_cannot_be_met_is_refused(directory, request_, message):
  with pytest.raises(DatasetError, match=message):
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
  ("edit", "message"),
  [
    (lambda arrays: arrays.pop("reward"), r"missing \['reward.npy'\], unknown \[\]"),
    (lambda arrays: arrays.update(extra=np.zeros(2)), r"missing \[\], unknown \['extra.npy'\]"),
    (set_array("reward", lambda reward: reward[:, None]), r"key 'reward': expected 1 axes .* got shape \(6, 1\)"),
    (set_array("observation", np.ravel), r"key 'observation': expected 2 axes .* got shape \(18,\)"),
    (set_array("observation", np.asfortranarray), "key 'observation': expected 2 axes in row-major order"),
    (set_array("reward", np.float64), "key 'reward': expected float32, got float64"),
    (set_array("action", lambda action: action.astype(">f4")), "key 'action': expected float32, got >f4"),
    (set_array("terminal", np.int8), "key 'terminal': expected bool, got int8"),
    (set_array("episode_length", np.int64), "key 'episode_length': expected int32, got int64"),
    (set_array("reward", lambda reward: reward.astype(object)), "key 'reward': expected float32, got object"),
    (set_array("reward", lambda reward: reward[:5]), r"key 'reward': expected shape \(6,\) .* got \(5,\)"),
    (set_array("observation", lambda rows: rows[:, :2]), r"key 'observation': expected shape \(6, 3\) .* got \(6, 2\)"),
    (set_array("action", lambda rows: rows[:, :1]), r"key 'action': expected shape \(6, 2\) .* got \(6, 1\)"),
    (set_array("final_observation", lambda rows: rows[:1]), r"key 'final_observation': expected shape \(2, 3\)"),
    (set_array("terminal", lambda rows: rows[:0]), r"key 'terminal': expected shape \(2,\)"),
    (set_rows("observation", 4, np.nan), r"key 'observation': expected finite values, got nan in row 4, column 0"),
    (set_rows("reward", 2, np.inf), "key 'reward': expected finite values, got inf in row 2"),
    (set_rows("final_observation", 1, -np.inf), "key 'final_observation': expected finite values.*row 1"),
    (set_rows("action", (3, 1), 1.001), r"key 'action': expected values in \[-1, 1\], got 1.001.* in row 3, column 1$"),
    (set_rows("episode_length", 1, 4), "key 'episode_length': expected lengths that sum to 6, got 5"),
    (set_rows("episode_length", slice(None), (0, 6)), "key 'episode_length': .*horizon 5, got 0 in row 0"),
    (set_rows("episode_length", slice(None), (0, 6)), "key 'episode_length': expected lengths from 1"),
    (set_rows("episode_length", 1, 6), "key 'episode_length': .*horizon 5, got 6 in row 1"),
    (set_rows("collected_at", 0, 99), "key 'collected_at': .*never decrease, got 10 in row 1"),
    (set_rows("collected_at", 0, -1), "key 'collected_at': .*got -1 in row 0"),
  ],
)
def test_a_damaged_array_is_named(directory, edit, message):
  edit_arrays(directory, 1, edit)
  with pytest.raises(DatasetError, match=r"task_01.npz: .*" + message):
    load_dataset(directory, tasks=(0, 1))
  load_dataset(directory, tasks=(0, 2))


def test_the_manifest_decides_on_sizes(directory):
  edit_manifest(directory, lambda document: document.update(observation_size=4))
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation': expected shape \(9, 4\)"):
    load_dataset(directory, tasks=(0,))
  edit_manifest(directory, lambda document: document.update(observation_size=3, horizon=3))
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'episode_length': .*horizon 3, got 4 in row 0"):
    load_dataset(directory, tasks=(0,))


def test_missing_and_unknown_files_are_named(directory):
  (directory / "task_02.npz").rename(directory / "task_03.npz")
  with pytest.raises(DatasetError, match=r"missing \['task_02.npz'\], unknown \['task_03.npz'\]"):
    load_dataset(directory, tasks=(0,))
  with pytest.raises(DatasetError, match=r"task_02.npz: cannot be read"):
    read_episodes(directory, read_manifest(directory), 2)


def test_a_changed_file_does_not_match_its_hash(directory):
  shutil.copy(directory / "task_00.npz", directory / "task_01.npz")
  with pytest.raises(DatasetError, match=r"task_01.npz: expected SHA-256 [0-9a-f]{64}, as the manifest says"):
    load_dataset(directory, tasks=(1,))


def test_compressed_files_are_refused(directory):
  with np.load(directory / "task_00.npz") as file:
    np.savez_compressed(directory / "task_00.npz", **{key: file[key] for key in file.files})
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation': expected an uncompressed member"):
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
  with pytest.raises(DatasetError, match=r"task_00.npz: key 'observation': declares 2147483632 bytes in a file of"):
    load_dataset(directory, tasks=(0,))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x03\x00", b"no array at all", b"\x80\x04N."])
def test_a_member_that_is_no_array_is_refused(directory, content):
  replace_member(directory / "task_00.npz", "reward", content)
  accept_file(directory, 0)
  with pytest.raises(DatasetError, match=r"task_00.npz"):
    load_dataset(directory, tasks=(0,))


@pytest.mark.parametrize("hash_matches", [False, True])
def test_no_damage_is_silent(directory, hash_matches):
  path = directory / "task_01.npz"
  whole = path.read_bytes()
  expected = load_dataset(directory, tasks=(1,))
  rng = random.Random(0)
  messages = []
  for case in range(150):
    damaged = bytearray(whole)
    if case % 3 == 0:
      del damaged[rng.randrange(len(damaged)) :]
    elif case % 3 == 1:
      damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    else:
      start = rng.randrange(len(damaged))
      damaged[start : start + 16] = rng.randbytes(16)
    path.write_bytes(damaged)
    if hash_matches:
      accept_file(directory, 1)
    try:
      dataset = load_dataset(directory, tasks=(1,))
    except DatasetError as error:
      messages.append(str(error))
    else:
      # A bit that nobody reads, such as a member's date.
      assert hash_matches or bytes(damaged) == whole
      for name in expected._fields:
        np.testing.assert_array_equal(getattr(dataset, name), getattr(expected, name))
  assert all("task_01.npz" in message for message in messages)
  assert len(messages) >= (100 if hash_matches else 150)
