import dataclasses
import hashlib
import json
import shutil

import ml_collections
import numpy as np
import pytest
from miniature_run import write_point_robot

from experiments.configuration import ConfigurationError, check_configuration, hyperparameters
from experiments.experiment import load_experiment, make_algorithm, task_split
from macaw_jax import envs
from macaw_jax.data.manifest import DatasetError, document_digest, read_manifest
from macaw_jax.types import Problem

# Field, value, what the message must say.
WRONG = [
  ("seed", -1, r"config.seed = -1: expected an integer from 0"),
  ("training.steps", 0, r"config.training.steps = 0: expected an integer of at least 1"),
  ("training.steps", 45, r"config.training.steps = 45 is not a multiple of config.training.log_every = 10"),
  ("training.evaluate_every", 15, r"config.training.evaluate_every = 15 is not a multiple"),
  ("training.checkpoint_every", 5, r"config.training.checkpoint_every = 5 is not a multiple"),
  ("evaluation.order", "sorted", r"config.evaluation.order = 'sorted': expected one of uniform, contiguous"),
  ("algorithm.advantage_target", "td_lambda", r"advantage_target = 'td_lambda' needs consecutive transitions: set"),
  ("training.order", "sorted", r"config.training.order = 'sorted': expected one of uniform, contiguous"),
  ("training.tasks_per_update", 0, r"config.training.tasks_per_update = 0"),
  ("dataset.quality", "best", r"config.dataset.quality = 'best': expected one of all, start, middle, end"),
  ("dataset.quality", "end", r"a part of the data needs its size"),
  ("dataset.transitions_per_task", 100, r"'all' has none"),
  ("dataset.directory", "", r"config.dataset.directory = '': expected a path"),
  ("algorithm.name", "macaws", r"config.algorithm.name = 'macaws': expected one of macaw"),
  ("algorithm.inner_steps", 0, r"config.algorithm.inner_steps = 0: expected an integer of at least 1"),
  ("algorithm.inner_steps", 3, r"config.training.support_size = 16 is not a multiple of config.algorithm.inner_steps"),
  ("evaluation.episodes", 0, r"config.evaluation.episodes = 0"),
  ("evaluation.engine", "brax", r"config.evaluation.engine = 'brax': expected one of native, mjx"),
  ("evaluation.support", "random", r"config.evaluation.support = 'random': expected one of own, other_policies"),
  ("dataset.split", "random", r"config.dataset.split = 'random': expected one of in_distribution, extrapolation"),
  ("evaluation.train_tasks", -1, r"config.evaluation.train_tasks = -1"),
]


def set_field(config, name, value):
  *sections, field = name.split(".")
  for section in sections:
    config = config[section]
  with config.unlocked():
    config[field] = value


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_fields(miniature, name, value, message):
  set_field(miniature, name, value)
  with pytest.raises(ConfigurationError, match=message):
    check_configuration(miniature)


def test_the_miniature_is_right(miniature):
  check_configuration(miniature)


def test_unknown_and_missing_fields(miniature):
  set_field(miniature, "training.batch_size", 1)
  with pytest.raises(ConfigurationError, match=r"config.training.batch_size is unknown; known fields: seed"):
    check_configuration(miniature)
  with pytest.raises(ConfigurationError, match=r"config.seed is missing"):
    check_configuration(ml_collections.ConfigDict({"training": {}}))


def test_a_value_of_another_type(miniature):
  values = miniature.to_dict()
  values["training"]["steps"] = True
  with pytest.raises(ConfigurationError, match=r"config.training.steps = True: expected an integer"):
    check_configuration(ml_collections.ConfigDict(values))


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
    check_configuration(miniature)
  assert str(error.value) == (
    "config.dataset.directory = 'data/cheetah_vel': no dataset there. Starter data in this directory: "
    "starter_data/cheetah_dir. To collect a full dataset: "
    "python -m experiments.collect --config=configs/collect/cheetah_vel.py"
  )
  miniature.dataset.directory = "data/other"
  with pytest.raises(ConfigurationError, match=r"configs/collect/<family>.py \(families: ant_dir, cheetah_vel\)"):
    check_configuration(miniature)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("training.query_size", 185, r"support_size 16 \+ query_size 185 needs 201 transitions a task; task 0 .* has 200"),
    ("evaluation.support_size", 201, r"an evaluation support of 201 transitions: task 3 \(test\) has 200"),
    ("evaluation.train_tasks", 4, r"config.evaluation.train_tasks = 4: the dataset has 3 training tasks"),
    ("dataset.skip", 8, r"needs 32 transitions a task; task 0 of the dataset has 25"),
  ],
)
def test_sizes_that_the_data_do_not_have(miniature, name, value, message):
  set_field(miniature, name, value)
  with pytest.raises(ConfigurationError, match=message):
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
  with pytest.raises((ConfigurationError, DatasetError), match=message):
    load_experiment(miniature)


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
    check_configuration(miniature)
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=3)
  check_configuration(miniature)
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
