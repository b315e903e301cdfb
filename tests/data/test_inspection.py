import shutil

import numpy as np
import pytest
from small_dataset import edit_arrays, edit_manifest, make_episodes, make_manifest, write_small

from macaw_jax.data.dataset import read_episodes
from macaw_jax.data.inspection import (
  collection_end,
  episode_returns,
  examine_dataset,
  find_datasets,
  parameter_vectors,
  quantiles_over_collection,
  read_leniently,
  running_median,
  summarise_entries,
  summarise_task,
  survey,
)
from macaw_jax.data.manifest import DatasetError, TaskEntry, read_manifest


@pytest.fixture
def directory(tmp_path):
  write_small(tmp_path / "small")
  return tmp_path / "small"


def episodes_by_hand():
  """Episodes of 2, 1 and 3 steps that began at 0, 40 and 70 of 90 steps, with returns 3, -1 and 10."""
  return make_episodes((2, 1, 3))._replace(
    reward=np.array([1, 2, -1, 5, 5, 0], np.float32), collected_at=np.array([0, 40, 70], np.int64)
  )


def test_a_summary_by_hand():
  episodes = episodes_by_hand()
  np.testing.assert_array_equal(episode_returns(episodes), [3, -1, 10])
  summary = summarise_task(episodes, end=90)
  assert (summary.transitions, summary.episodes, summary.shortest, summary.longest) == (6, 3, 1, 3)
  np.testing.assert_array_equal(summary.returns, [-1, 1, 3, 6.5, 10])
  assert (summary.lowest, summary.highest) == (episodes.observation.min(), 5.0)  # the row's number
  assert summary.non_finite == {}
  assert (summary.first, summary.last) == (0, 70)
  np.testing.assert_allclose(summary.thirds, [2 / 6, 1 / 6, 3 / 6])


def test_the_collection_ends_with_the_last_episode_of_any_task():
  earlier = make_episodes((4, 4))  # began at 0 and 10
  assert collection_end([episodes_by_hand(), earlier]) == 73
  assert collection_end([earlier]) == 14


def test_values_that_are_not_finite_are_counted_and_left_out():
  episodes = episodes_by_hand()
  episodes.reward[3] = np.nan
  episodes.observation[1, 2], episodes.observation[4] = -np.inf, np.nan
  summary = summarise_task(episodes, end=90)
  assert summary.non_finite == {"observation": 4, "reward": 1}
  np.testing.assert_array_equal(summary.returns, [-1, 0, 1, 2, 3])
  assert np.isfinite([summary.lowest, summary.highest]).all()
  entries = summarise_entries([episodes, make_episodes((2,), task=1)])
  np.testing.assert_array_equal(entries.non_finite, [1, 1, 2])
  np.testing.assert_array_equal(entries.highest[:2], [5, 1])
  np.testing.assert_allclose(entries.mean[0], (0 + 1 + 2 + 3 + 5 + 0 + 1) / 7)
  np.testing.assert_allclose(entries.std[1], np.std([0] * 5 + [1] * 2))


def test_no_finite_value_at_all_is_no_error():
  episodes = episodes_by_hand()
  episodes.reward[:] = np.inf
  episodes.observation[:] = np.nan
  summary = summarise_task(episodes, end=90)
  assert np.isnan(summary.returns).all()
  assert np.isnan(summary.highest)


def test_every_problem_of_every_file_is_found(directory):
  def spoil(arrays):
    arrays["reward"][2] = np.nan
    arrays["action"][1] = 3.0
    arrays["episode_length"][0] = 2

  edit_arrays(directory, 0, spoil)
  (directory / "task_01.npz").write_bytes(b"no archive")
  shutil.copy(directory / "task_02.npz", directory / "task_07.npz")
  path = directory / "manifest.json"
  path.write_text(path.read_text().replace('"expert": 9.0', '"expert": 8.0', 1))
  found = examine_dataset(directory)
  assert list(found) == ["manifest.json", "task_00.npz", "task_01.npz", "task_02.npz", str(directory)]
  expected = {
    "manifest.json": ["key 'digest'"],
    "task_00.npz": ["key 'reward': expected finite", "key 'action'", "key 'episode_length': expected lengths that sum"],
    "task_01.npz": ["expected SHA-256", "expected an uncompressed .npz archive"],
    "task_02.npz": [],
    str(directory): ["unknown ['task_07.npz']"],
  }
  for name, parts in expected.items():
    for problem, part in zip(found[name], parts, strict=True):
      assert part in problem


def test_every_wrong_array_of_a_file_is_found(directory):
  def spoil(arrays):
    arrays["reward"] = arrays["reward"].astype(np.float64)
    arrays["terminal"] = arrays["terminal"][None]

  edit_arrays(directory, 1, spoil)
  reward, terminal = examine_dataset(directory)["task_01.npz"]
  assert "key 'reward': expected float32, got float64" in reward
  assert "key 'terminal': expected 1 axes" in terminal


def test_a_sound_dataset_has_no_problems(directory):
  assert examine_dataset(directory) == {"manifest.json": [], "task_00.npz": [], "task_01.npz": [], "task_02.npz": []}


def test_a_manifest_that_cannot_be_used_is_all_that_is_known(directory):
  edit_manifest(directory, lambda document: document.update(seed=-1, discount=0))
  ((name, problems),) = examine_dataset(directory).items()
  assert (name, len(problems)) == ("manifest.json", 2)


def test_lenient_reading_gives_wrong_values_with_what_is_wrong(directory):
  whole = read_episodes(directory, read_manifest(directory), 1)
  edit_arrays(directory, 1, lambda arrays: arrays["reward"].__setitem__(2, np.inf))
  manifest, episodes, problems = read_leniently(directory)
  assert len(manifest.tasks) == len(episodes) == 3
  np.testing.assert_array_equal(np.delete(episodes[1].reward, 2), np.delete(whole.reward, 2))
  assert episodes[1].reward[2] == np.inf
  assert len(problems) == 1
  assert "task_01.npz: key 'reward': expected finite values, got inf in row 2" in problems[0]


@pytest.mark.parametrize(
  "edit",
  [
    lambda arrays: arrays.pop("reward"),
    lambda arrays: arrays["episode_length"].__setitem__(0, 3),
    lambda arrays: arrays["episode_length"].__setitem__(slice(None), (0, 6)),
  ],
)
def test_lenient_reading_refuses_episodes_that_cannot_be_told_apart(directory, edit):
  edit_arrays(directory, 1, edit)
  with pytest.raises(DatasetError, match=r"task_01\.npz: "):
    read_leniently(directory)


def test_datasets_are_found_below_a_directory(tmp_path):
  for name in ("b", "a/deep", ".a.1234.partial"):
    write_small(tmp_path / name)
  (tmp_path / "c").mkdir()
  (tmp_path / "c" / "task_00.npz").write_bytes(b"")  # lost its manifest
  (tmp_path / "d").mkdir()
  assert find_datasets(tmp_path) == [tmp_path / "a" / "deep", tmp_path / "b", tmp_path / "c"]
  assert find_datasets(tmp_path / "b") == [tmp_path / "b"]


def test_links_are_followed_and_never_in_a_circle(tmp_path):
  write_small(tmp_path / "elsewhere/small")
  (tmp_path / "data").mkdir()
  for name, target in (("again", "elsewhere/small"), ("circle", "data"), ("small", "elsewhere/small"), ("lost", "no")):
    (tmp_path / "data" / name).symlink_to(tmp_path / target)
  assert find_datasets(tmp_path / "data") == [tmp_path / "data" / "again"]


def test_a_survey_has_the_size_of_all_files(directory):
  manifest, size = survey(directory)
  assert manifest == read_manifest(directory)
  assert size == sum(path.stat().st_size for path in directory.iterdir())
  (directory / "task_00.npz").unlink()
  with pytest.raises(DatasetError, match=r"missing \['task_00.npz'\]"):
    survey(directory)


def test_parameters_as_vectors():
  assert parameter_vectors(make_manifest(3)).tolist() == [[0.0], [0.5], [1.0]]

  def manifest(*parameters):
    tasks = tuple(TaskEntry(parameters=item, reference_returns={"random": 0, "expert": 1}) for item in parameters)
    return make_manifest(len(tasks), tasks=tasks)

  nested = manifest({"mass": [[1, 2], [3]], "drag": 4}, {"drag": 5, "mass": [[6, 7], [8]]})
  assert parameter_vectors(nested).tolist() == [[4, 1, 2, 3], [5, 6, 7, 8]]
  assert parameter_vectors(manifest({}, {})) is None
  assert parameter_vectors(manifest({"mass": 1}, {"drag": 1})) is None
  assert parameter_vectors(manifest({"mass": [1]}, {"mass": [1, 2]})) is None


def test_running_medians_by_hand():
  np.testing.assert_array_equal(running_median(np.array([5, 1, 9, 2, 2.0]), 3), [3, 5, 2, 2, 2])


def test_quantiles_of_each_part_of_a_collection():
  steps = np.array([30, 0, 10, 20, 0, 10])
  returns = np.array([6, 1, 3, 5, 2, 4.0])
  centres, quantiles = quantiles_over_collection(steps, returns, (0.0, 0.5, 1.0), parts=3)
  np.testing.assert_array_equal(centres, [0, 10, 25])
  np.testing.assert_array_equal(quantiles, [[1, 3, 5], [1.5, 3.5, 5.5], [2, 4, 6]])
  assert quantiles_over_collection(steps, returns, (0.5,), parts=40)[1].shape == (1, 6)
