import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from miniature_run import write_point_robot

from experiments.configuration import ConfigurationError, hyperparameters
from experiments.experiment import load_experiment, make_algorithm, task_split
from experiments.validation import validate
from macaw_jax import envs
from macaw_jax.data.manifest import DatasetError, document_digest, read_manifest
from macaw_jax.types import Problem


def set_field(config, name, value):
  *sections, field = name.split(".")
  for section in sections:
    config = config[section]
  with config.unlocked():
    config[field] = value


def test_the_miniature_is_right(miniature):
  validate(miniature)


def test_a_missing_dataset_says_what_there_is_and_how_to_make_it(miniature, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for path in (
    "starter_data/cheetah_dir/manifest.json",
    "configs/collect/cheetah_vel.py",
    "configs/collect/ant_dir.py",
  ):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("")
  miniature.dataset.directory = "data/cheetah_vel"
  with pytest.raises(ConfigurationError) as error:
    validate(miniature)
  assert str(error.value) == (
    "config.dataset.directory = 'data/cheetah_vel': no dataset there. Starter data in this directory: "
    "starter_data/cheetah_dir. To collect a full dataset: "
    "python -m experiments.collect --config=configs/collect/cheetah_vel.py"
  )
  miniature.dataset.directory = "data/other"
  with pytest.raises(ConfigurationError, match=r"configs/collect/<family>.py \(families: ant_dir, cheetah_vel\)"):
    validate(miniature)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("training.query_size", 185, r"query_size = 185 take 201 transitions of a task: task 0 has 200"),
    ("evaluation.support_size", 201, r"an evaluation support of 201 transitions: task 3 \(test\) has 200"),
    ("evaluation.train_tasks", 4, r"config.evaluation.train_tasks = 4: the dataset has 3 training tasks"),
    ("dataset.skip", 8, r"take 32 transitions of a task: task 0 has 25"),
  ],
)
def test_sizes_that_the_data_do_not_have(miniature, name, value, message):
  set_field(miniature, name, value)
  for check in (validate, load_experiment):
    with pytest.raises(ConfigurationError, match=message):
      check(miniature)


def test_a_part_of_the_data_is_measured_when_it_is_loaded(miniature):
  set_field(miniature, "dataset.quality", "end")
  set_field(miniature, "dataset.transitions_per_task", 25)  # two whole episodes, of 40 transitions
  set_field(miniature, "training.query_size", 24)
  validate(miniature)
  assert load_experiment(miniature).train.data.size.tolist() == [40, 40, 40]
  set_field(miniature, "training.query_size", 25)
  validate(miniature)
  with pytest.raises(ConfigurationError, match=r"take 41 transitions of a task: task 0 has 40"):
    load_experiment(miniature)


@pytest.fixture
def data(miniature, tmp_path):
  """The directory of a copy of the data, for the test to spoil."""
  directory = tmp_path / "copy"
  shutil.copytree(miniature.dataset.directory, directory)
  miniature.dataset.directory = str(directory)
  return directory


def edit_manifest(directory, edit):
  path = directory / "manifest.json"
  document = json.loads(path.read_text())
  edit(document)
  path.write_text(json.dumps(document | {"digest": document_digest(document)}))


def test_not_a_number_in_the_data(miniature, data):
  path = data / "task_01.npz"
  with np.load(path) as archive:
    arrays = dict(archive)
  arrays["reward"][5] = np.nan
  np.savez(path, **arrays)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  edit_manifest(data, lambda document: document["tasks"][1].update(sha256=digest))
  with pytest.raises(DatasetError, match=r"task_01.npz: key 'reward': expected finite values, got nan in row 5"):
    load_experiment(miniature)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"family": "cheetah_vel"}, r"the dataset's observation_size is 2, that of its family 'cheetah_vel' is 20"),
    ({"family": "snake"}, r"No task family is called 'snake'; known: "),
    ({"test_tasks": [2, 3]}, r"expected no training task, as tasks_shared_by_splits is false, got \[2\]"),
    ({"test_tasks": []}, r"names no test tasks"),
    ({"train_tasks": []}, r"names no train tasks"),
  ],
)
def test_manifests_that_do_not_fit(miniature, data, changes, message):
  edit_manifest(data, lambda document: document.update(changes))
  for check in (validate, load_experiment):
    with pytest.raises((ConfigurationError, DatasetError), match=message):
      check(miniature)


def test_shared_tasks_are_allowed_where_the_manifest_says_so(miniature, data):
  changes = {"test_tasks": [0, 1, 2], "tasks_shared_by_splits": True}
  edit_manifest(data, lambda document: document.update(changes))
  experiment = load_experiment(miniature)
  test, train = experiment.evaluated
  assert test.indices == experiment.train.indices == (0, 1, 2)
  assert (test.name, train.name) == ("test", "train")


def test_what_an_experiment_holds(miniature):
  experiment = load_experiment(miniature)
  assert experiment.problem == (2, 2, 3, 0.99)
  assert experiment.train.indices == (0, 1, 2)
  test, train = experiment.evaluated
  assert (test.indices, train.indices) == ((3, 4), (0, 2))
  np.testing.assert_array_equal(test.tasks["goal"], experiment.family.tasks["goal"][3:5])


def test_extrapolation_trains_inside_and_tests_outside(miniature):
  set_field(miniature, "dataset.split", "extrapolation")
  family = envs.make("point_robot")
  manifest = read_manifest(miniature.dataset.directory)
  tasks = [dataclasses.replace(manifest.tasks[0], parameters={"goal": goal.tolist()}) for goal in family.tasks["goal"]]
  assert task_split(miniature, dataclasses.replace(manifest, tasks=tuple(tasks)), family) == family.extrapolation
  moved = dataclasses.replace(manifest, tasks=tuple(reversed(tasks)))
  with pytest.raises(ConfigurationError, match=r"are not those of family 'point_robot': goal differs"):
    task_split(miniature, moved, family)
  assert set(family.extrapolation.test) != set(manifest.test_tasks)
  with pytest.raises(
    ConfigurationError, match=r"config.dataset.split = 'extrapolation': it splits 100 tasks, .* has 5"
  ):
    load_experiment(miniature)
  with pytest.raises(ConfigurationError, match=r"family 'cheetah_dir' has no such split"):
    task_split(miniature, manifest, envs.make("cheetah_dir"))


def test_supports_of_other_policies_come_from_the_dataset_beside(miniature, point_robot_directory, tmp_path):
  data = tmp_path / "moved"
  shutil.copytree(point_robot_directory, data)
  set_field(miniature, "dataset.directory", str(data))
  set_field(miniature, "evaluation.support", "other_policies")
  with pytest.raises(
    ConfigurationError, match=r"config.evaluation.support = 'other_policies': no dataset at .*moved_other"
  ):
    validate(miniature)
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=3)
  validate(miniature)
  experiment = load_experiment(miniature)
  assert [split.indices for split in experiment.evaluated] == [(3, 4), (0, 2)]
  assert {int(split.data.size.max()) for split in experiment.evaluated} == {60}  # three episodes, not ten
  assert experiment.train.data.size.max() == 200


def test_supports_of_another_family_are_refused(miniature, point_robot_directory, tmp_path):
  data = tmp_path / "moved"
  shutil.copytree(point_robot_directory, data)
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=3, family="point_robot_wind")
  set_field(miniature, "dataset.directory", str(data))
  set_field(miniature, "evaluation.support", "other_policies")
  with pytest.raises(
    ConfigurationError, match=r"expected task 4 of family 'point_robot', got 5 tasks of 'point_robot_wind'"
  ):
    load_experiment(miniature)


def test_the_factory_gets_the_hyperparameters(miniature):
  assert hyperparameters(miniature)["hidden_sizes"] == (16, 16)
  assert "name" not in hyperparameters(miniature)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("algorithm.layer", "sparse", r"config.algorithm \(macaw\): layer='sparse'"),
    ("algorithm.momentum", 0.9, r"config.algorithm \(macaw\): .*unexpected keyword argument 'momentum'"),
    ("algorithm.inner_value_step_size", -1.0, r"config.algorithm \(macaw\): .*must be positive"),
  ],
)
def test_hyperparameters_that_the_algorithm_refuses(miniature, name, value, message):
  set_field(miniature, name, value)
  with pytest.raises(ConfigurationError, match=message):
    make_algorithm(miniature, Problem(2, 2, 3, 0.99))
