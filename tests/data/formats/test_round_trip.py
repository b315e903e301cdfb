import dataclasses
import sys

import numpy as np
import pytest
from format_sources import (
  DISCOUNT,
  TASKS,
  as_others_write,
  assert_same,
  data_files,
  make_episodes,
  make_source,
  own_order,
  read,
)
from small_dataset import make_manifest

from macaw_jax.data.dataset import read_episodes, write_episodes
from macaw_jax.data.formats import FORMATS, ReadOptions, to_manifest
from macaw_jax.data.manifest import DatasetError

WRITTEN = ("macaw_hdf5", "d4rl_hdf5", "minari")
pytest.importorskip("h5py")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_what_is_read(name, tmp_path):
  expected = make_source(name, tmp_path / "source")
  assert_same(read(name, tmp_path / "source"), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_episodes_of_any_lengths_and_ends_survive(name, tmp_path):
  rng = np.random.default_rng(0)
  for case in range(8):
    tasks = []
    for task in range(int(rng.integers(1, 4))):
      lengths = tuple(int(length) for length in rng.integers(1, 9, rng.integers(1, 7)))
      terminal = tuple(np.flatnonzero(rng.random(len(lengths)) < 0.4))
      tasks.append(make_episodes(lengths, task=10 * case + task, terminal=terminal))
    expected = make_source(name, tmp_path / str(case), tasks)
    assert_same(read(name, tmp_path / str(case), horizon=8), expected)


@pytest.mark.parametrize("discount", [0.1, 0.9, 0.999, 0.999999, 1.0])
def test_macaw_buffers_of_any_discount_survive(discount, tmp_path):
  # 0.1 to the power of 60 is zero in float32: lengths are still told apart.
  tasks = [make_episodes((60, 1, 3), task=0, terminal=(0,)), make_episodes((1, 1), task=1)]
  FORMATS["macaw_hdf5"].write(tmp_path / "source", tasks, make_manifest(2, discount=discount))
  imported = FORMATS["macaw_hdf5"].read([tmp_path / "source"], ReadOptions())
  assert_same(imported.episodes, tasks)
  assert imported.discount == discount


@pytest.mark.parametrize("name", WRITTEN)
def test_parameters_and_discount_survive(name, tmp_path):
  manifest = make_manifest(3, discount=DISCOUNT)
  physics = np.random.default_rng(0).normal(size=(40, 100)).tolist()  # more than fits into an object header
  entry = dataclasses.replace(manifest.tasks[2], parameters={"speed": 1.5, "mass": physics})
  manifest = dataclasses.replace(manifest, tasks=(*manifest.tasks[:2], entry))
  FORMATS[name].write(tmp_path / "source", TASKS, manifest)
  imported = FORMATS[name].read([tmp_path / "source"], ReadOptions())
  assert imported.parameters == [{"speed": 0.0}, {"speed": 0.5}, {"speed": 1.5, "mass": physics}]
  assert imported.discount == DISCOUNT


@pytest.mark.parametrize("name", WRITTEN)
def test_reference_returns_and_what_they_are_survive(name, tmp_path):
  texts = {"random": "a policy of zeros", "expert": "the best of five agents"}
  manifest = make_manifest(3, discount=DISCOUNT, references=texts)
  pairs = [{"random": -1.0 / 3.0, "expert": 10.0 + task} for task in range(3)]
  tasks = [
    dataclasses.replace(entry, reference_returns=pair) for entry, pair in zip(manifest.tasks, pairs, strict=True)
  ]
  FORMATS[name].write(tmp_path / "source", TASKS, dataclasses.replace(manifest, tasks=tuple(tasks)))
  imported = FORMATS[name].read([tmp_path / "source"], ReadOptions())
  back = to_manifest(imported, family="small", train_tasks=(0, 1), test_tasks=(2,), source=name)
  assert [entry.reference_returns for entry in back.tasks] == pairs
  assert back.references == texts


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_other_writers_have_the_default_order_of_collection(name, tmp_path):
  make_source(name, tmp_path / "source")
  for path in data_files(tmp_path / "source"):
    as_others_write(path)
  imported = FORMATS[name].read([tmp_path / "source"], ReadOptions())
  assert_same(imported.episodes, [own_order(episodes) for episodes in TASKS])
  assert imported.parameters == [{}, {}, {}]
  assert imported.discount == (DISCOUNT if name == "macaw_hdf5" else None)


@pytest.mark.parametrize("name", FORMATS)
def test_an_import_becomes_a_dataset(name, tmp_path):
  expected = make_source(name, tmp_path / "source")
  imported = FORMATS[name].read([tmp_path / "source"], ReadOptions(discount=DISCOUNT))
  manifest = to_manifest(imported, family="small", train_tasks=[0, 1], test_tasks=[2], source=name)
  manifest = write_episodes(tmp_path / "dataset", imported.episodes, manifest)
  assert_same([read_episodes(tmp_path / "dataset", manifest, task) for task in range(3)], expected)
  assert manifest.discount == DISCOUNT
  assert manifest.behaviour["source"] == name


@pytest.mark.parametrize("name", FORMATS)
def test_an_episode_longer_than_the_horizon_is_an_error(name, tmp_path):
  make_source(name, tmp_path / "source")
  read(name, tmp_path / "source", horizon=5)
  with pytest.raises(DatasetError, match=r"at most 4 steps \(horizon\), got 5 in episode 0"):
    read(name, tmp_path / "source", horizon=4)


@pytest.mark.parametrize("name", WRITTEN)
def test_another_discount_than_asked_for_is_an_error(name, tmp_path):
  make_source(name, tmp_path / "source")
  with pytest.raises(DatasetError, match=r"discount.*expected the discount 0.9 that was asked for, got 0.99"):
    read(name, tmp_path / "source", discount=0.9)


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_overwritten(name, tmp_path):
  make_source(name, tmp_path / "source")
  with pytest.raises(DatasetError, match="source: exists already"):
    make_source(name, tmp_path / "source")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_failure_while_writing_leaves_nothing(name, tmp_path):
  unwritable = TASKS[2]._replace(collected_at=np.array([None, None, None]))
  with pytest.raises((TypeError, ValueError)):
    make_source(name, tmp_path / "source", [TASKS[0], TASKS[1], unwritable])
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_that_is_not_there_is_an_error(name, tmp_path):
  with pytest.raises(DatasetError, match="nothing"):
    read(name, tmp_path / "nothing")
  with pytest.raises(DatasetError, match="expected at least one path"):
    FORMATS[name].read([], ReadOptions())
  (tmp_path / "empty").mkdir()
  with pytest.raises(DatasetError, match="found none"):
    read(name, tmp_path / "empty")


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_that_is_given_twice_is_an_error(name, tmp_path):
  make_source(name, tmp_path / "source")
  with pytest.raises(DatasetError, match="source: expected each path once"):
    FORMATS[name].read([tmp_path / "source", tmp_path / "source/../source"], ReadOptions())


@pytest.mark.parametrize("name", WRITTEN)
def test_without_h5py_the_error_says_what_to_install(name, tmp_path, monkeypatch):
  make_source(name, tmp_path / "source")
  monkeypatch.setitem(sys.modules, "h5py", None)
  with pytest.raises(DatasetError, match=r'pip install "macaw_jax\[hdf5\]"'):
    read(name, tmp_path / "source")


def test_tasks_of_different_sizes_are_an_error(tmp_path):
  wide = TASKS[1]._replace(observation=np.zeros((1, 7), np.float32), final_observation=np.zeros((1, 7), np.float32))
  make_source("d4rl_hdf5", tmp_path / "source", [TASKS[0], wide])
  with pytest.raises(DatasetError, match=r"task_01.hdf5: expected \(observation, action\) sizes \(3, 2\)"):
    read("d4rl_hdf5", tmp_path / "source")


def test_files_of_a_directory_are_taken_in_the_order_of_their_numbers(tmp_path):
  make_source("pickle", tmp_path / "source", [make_episodes((2,), task=task) for task in range(12)])
  first = [episodes.observation[0, 1] for episodes in read("pickle", tmp_path / "source", horizon=2)]
  assert first == list(range(12))
