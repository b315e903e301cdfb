import json
import shutil

import numpy as np
import pytest
from format_sources import (
  DISCOUNT,
  TASKS,
  as_others_write,
  assert_same,
  edit_hdf5,
  make_source,
  own_order,
  read,
  replace,
)
from small_dataset import ACTION_SIZE, OBSERVATION_SIZE, make_manifest

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.manifest import DatasetError

pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path):
  """The data of one task, as others write them."""
  make_source("minari", tmp_path / "source", TASKS[:1])
  path = tmp_path / "source/macaw/small/task-00-v0/data/main_data.hdf5"
  as_others_write(path)
  return path


def edit_metadata(path, **changes):
  file = path.parent / "metadata.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def references_of(path):
  return FORMATS["minari"].read([path.parents[1]], ReadOptions()).references


def test_scores_of_the_metadata_are_used(path):
  assert references_of(path) is not None  # of our own metadata
  edit_metadata(path, ref_min_score=-2.5, ref_max_score=70)
  (references,) = references_of(path)
  assert references.returns == {"random": -2.5, "expert": 70.0}
  assert references.texts == {"random": "the source's ref_min_score", "expert": "the source's ref_max_score"}
  edit_metadata(path, ref_min_score=None)
  assert references_of(path) is None
  edit_metadata(path, ref_min_score="low")
  with pytest.raises(DatasetError, match=r"metadata\.json: key 'ref_min_score and ref_max_score': expected finite"):
    references_of(path)


def test_the_minari_package_reads_what_is_written(tmp_path, monkeypatch):
  minari = pytest.importorskip("minari")
  manifest = make_manifest(3, discount=DISCOUNT, family="cheetah_vel")
  FORMATS["minari"].write(tmp_path / "source", TASKS, manifest)
  monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "source"))
  assert sorted(minari.list_local_datasets()) == [f"macaw/cheetah-vel/task-0{task}-v0" for task in range(3)]
  for task, expected in enumerate(TASKS):
    dataset = minari.load_dataset(f"macaw/cheetah-vel/task-0{task}-v0")
    assert dataset.total_episodes == len(expected.episode_length)
    assert dataset.total_steps == len(expected.reward)
    assert dataset.observation_space.shape == (OBSERVATION_SIZE,)
    assert dataset.action_space.shape == (ACTION_SIZE,)
    ends = np.cumsum(expected.episode_length)
    for index, episode in enumerate(dataset.iterate_episodes()):
      rows = slice(ends[index] - expected.episode_length[index], ends[index])
      np.testing.assert_array_equal(episode.observations[:-1], expected.observation[rows])
      np.testing.assert_array_equal(episode.observations[-1], expected.final_observation[index])
      np.testing.assert_array_equal(episode.actions, expected.action[rows])
      np.testing.assert_array_equal(episode.rewards, expected.reward[rows])
      assert episode.terminations[-1] == expected.terminal[index]
      assert episode.truncations[-1] != expected.terminal[index]
    # A return of 4 lies half way from the manifest's -1 to its 9.
    assert minari.get_normalized_score(dataset, np.array(4.0)) == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:env_spec is None")
def test_what_the_minari_package_writes_is_read(tmp_path, monkeypatch):
  minari = pytest.importorskip("minari")
  import gymnasium
  from minari.data_collector import EpisodeBuffer

  monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "source"))
  expected = TASKS[0]
  buffers, start = [], 0
  for index, length in enumerate(expected.episode_length):
    rows = slice(start, start + length)
    final, ended = expected.final_observation[index], expected.terminal[index]
    buffers.append(
      EpisodeBuffer(
        observations=[*expected.observation[rows], final],
        actions=list(expected.action[rows]),
        rewards=list(expected.reward[rows]),
        terminations=[False] * (length - 1) + [bool(ended)],
        truncations=[False] * (length - 1) + [not ended],
        infos={},
      )
    )
    start += length
  with pytest.warns(UserWarning, match="is set to None"):  # The package asks for an author and more.
    minari.create_dataset_from_buffers(
      "other/task-00-v0",
      buffers,
      observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,)),
      action_space=gymnasium.spaces.Box(-1, 1, (ACTION_SIZE,)),
    )
  assert_same(read("minari", tmp_path / "source"), [own_order(expected)])
  assert_same(read("minari", tmp_path / "source/other/task-00-v0"), [own_order(expected)])


def test_datasets_are_found_by_name_and_below_a_root(tmp_path):
  make_source("minari", tmp_path / "source")
  root = tmp_path / "source/macaw/small"
  assert_same(read("minari", root), TASKS)
  assert_same(read("minari", root / "task-01-v0"), TASKS[1:2])
  assert_same(read("minari", root / "task-01-v0/data"), TASKS[1:2])
  chosen = [root / "task-02-v0", root / "task-00-v0"]
  assert_same(FORMATS["minari"].read(chosen, ReadOptions()).episodes, [TASKS[2], TASKS[0]])
  with pytest.raises(DatasetError, match=r"small: expected a Minari dataset"):
    FORMATS["minari"].read([root, chosen[0]], ReadOptions())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"total_episodes": 3}, "expected the groups episode_0 to episode_2 as in metadata.json, got 4"),
    ({"total_episodes": 10**18}, "expected the groups episode_0 to episode_9+ as in metadata.json, got 4"),
    ({"total_steps": 11}, "expected 11 steps as in metadata.json, got 10"),
    ({"total_steps": "10"}, "key 'total_steps': expected an integer of at least 1, got '10'"),
    (
      {"observation_space": '{"type": "Dict", "subspaces": {}}'},
      "'observation_space': expected a Box.*got a Dict of 0 axes",
    ),
    ({"observation_space": '{"type": "Box", "shape": [8, 8, 3]}'}, "'observation_space': .*got a Box of 3 axes"),
    (
      {"action_space": '{"type": "Discrete", "n": 4}'},
      r"metadata\.json: key 'action_space': .*got a Discrete of 0 axes",
    ),
    ({"action_space": {"type": "Box"}}, "'action_space': expected a space as JSON"),
    ({"action_space": "Box(3)"}, r"'action_space': expected a space as JSON, got 'Box\(3\)'"),
    ({"data_format": "arrow"}, "key 'data_format': expected 'hdf5', got 'arrow'"),
  ],
)
def test_metadata_that_contradict_the_data_are_an_error(path, changes, message):
  edit_metadata(path, **changes)
  with pytest.raises(DatasetError, match=message):
    read("minari", path.parent)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_damaged_metadata_are_an_error(path, content):
  (path.parent / "metadata.json").write_bytes(content)
  with pytest.raises(DatasetError, match=r"metadata\.json: expected"):
    read("minari", path.parent)


def test_missing_metadata_are_an_error(path):
  (path.parent / "metadata.json").unlink()
  with pytest.raises(DatasetError, match=r"metadata\.json: cannot be read"):
    read("minari", path.parent)


@pytest.mark.parametrize(
  ("edit", "message"),
  [
    (lambda file: file.__delitem__("episode_1"), "expected the groups episode_0 to episode_3"),
    (lambda file: file.move("episode_1", "episode_9"), "expected the groups episode_0 to episode_3"),
    (lambda file: file.__delitem__("episode_1/rewards"), "key 'episode_1/rewards' is missing"),
    (
      lambda file: replace(file, "episode_0/observations", file["episode_0/observations"][:-1]),
      r"key 'episode_0/observations': expected shape \[5, columns\], got \(4, 3\)",
    ),
    (
      lambda file: replace(file, "episode_3/actions", np.zeros((3, 5), np.float32)),
      r"key 'episode_3/actions': expected shape \[rows, 2\], got \(3, 5\)",
    ),
    (
      lambda file: file["episode_0/terminations"].__setitem__(1, True),
      "key 'episode_0/terminations': expected true on the last step alone, got true in row 1 of 4",
    ),
    (
      lambda file: file["episode_0"].attrs.__setitem__("total_steps", 9),
      "key 'episode_0@total_steps': expected the 4 steps there are, got 9",
    ),
    (
      lambda file: replace(file, "episode_0/actions", np.array([0, 1, 2, 3])),
      r"key 'episode_0/actions': expected shape \[rows, columns\], got \(4,\)",
    ),
    (
      lambda file: (file.__delitem__("episode_0/observations"), file.create_group("episode_0/observations")),
      "key 'episode_0/observations': expected a dataset, got a group",
    ),
  ],
)
def test_data_that_contradict_themselves_are_an_error(path, edit, message):
  edit_hdf5(path, edit)
  with pytest.raises(DatasetError, match=f"main_data.hdf5: {message}"):
    read("minari", path.parent)


def test_an_episode_without_an_end_ends_at_a_time_limit(path):
  edit_hdf5(path, lambda file: file["episode_0/truncations"].__setitem__(3, False))
  assert_same(read("minari", path.parent), [own_order(TASKS[0])])


def test_a_copied_dataset_keeps_its_data(tmp_path):
  make_source("minari", tmp_path / "source")
  shutil.copytree(tmp_path / "source/macaw/small/task-02-v0", tmp_path / "copy")
  assert_same(read("minari", tmp_path / "copy"), TASKS[2:])
