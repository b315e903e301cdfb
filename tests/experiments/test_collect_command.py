import contextlib
import importlib
import io
from pathlib import Path

import numpy as np
import pytest

from configs.collect import any as any_family
from configs.collect import point_robot
from experiments import collect
from experiments.collect import read_config
from macaw_jax import envs
from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.manifest import read_manifest
from macaw_jax.data.relabel import OTHER_POLICIES
from macaw_jax.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def small(directory, **changes):
  """A configuration of a small collection."""
  config = point_robot.get_config()
  config.update({"directory": str(directory), "episodes_per_task": 4, "warmup_episodes": 2, "reference_episodes": 3})
  config.update(changes)
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory, compiled_once):
  """A small collection with its starter dataset: the directory, and what the command printed."""
  directory = tmp_path_factory.mktemp("collected")
  more = {"starter_directory": str(directory / "starter"), "starter_episodes": 2}
  config = small(directory / "full", picture=str(directory / "agent.gif"), **more)
  with contextlib.redirect_stdout(io.StringIO()) as said:
    collect.run(*read_config(config))
  return directory, said.getvalue()


def test_the_command_writes_a_dataset_that_loads(run):
  directory, _ = run
  names = {path.name for path in directory.iterdir()}
  assert names == {"full", *(f"full_{name}" for name in OTHER_POLICIES), "starter", "agent.gif"}  # nothing half done
  family = envs.make("point_robot")
  dataset = load_dataset(directory / "full", tasks=range(100))
  assert dataset.observation.shape == (100, 80, 2)
  # The stored rewards are the family's: minus the distance of the next position to the goal.
  distance = np.linalg.norm(dataset.next_observation - family.tasks["goal"][:, None], axis=-1)
  np.testing.assert_allclose(dataset.reward, -distance, atol=1e-6)
  np.testing.assert_allclose(dataset.next_observation, dataset.observation + 0.1 * dataset.action, atol=1e-6)
  assert dataset.terminal.sum() == 0  # ends by the time limit alone
  assert dataset.last.sum() == 100 * 4


def test_the_manifest_says_where_the_data_came_from(run):
  directory, _ = run
  manifest = read_manifest(directory / "full")
  assert manifest.family == "point_robot"
  assert manifest.horizon == 20
  assert manifest.test_tasks == tuple(range(80, 100))
  assert manifest.behaviour["environment_steps"] == 100 * 4 * 20
  assert manifest.behaviour["settings"]["episodes_per_task"] == 4
  assert {"jax", "mujoco", "numpy", "python"} <= set(manifest.versions)
  goals = envs.make("point_robot").tasks["goal"]
  np.testing.assert_array_equal(np.float32([task.parameters["goal"] for task in manifest.tasks]), goals)
  references = [task.reference_returns for task in manifest.tasks]
  assert np.mean([task["expert"] - task["random"] for task in references]) > 1.0


def test_the_starter_has_the_first_and_the_last_episode(run):
  directory, _ = run
  full, starter = (load_dataset(directory / name, tasks=[7]) for name in ("full", "starter"))
  np.testing.assert_array_equal(starter.observation[0, :20], full.observation[0, :20])
  np.testing.assert_array_equal(starter.observation[0, 20:], full.observation[0, 60:])


def test_the_output_has_progress_and_a_table(run):
  lines = run[1].splitlines()
  progress = [line for line in lines if "steps 8,000" in line]
  assert len(progress) == 1  # the line after the last round
  assert "left]" in progress[0]
  assert "mean" in progress[0]
  start = next(index for index, line in enumerate(lines) if line.split() == ["task", "random", "expert"])
  mean, scale = lines[start + 101 : start + 103]
  assert mean.split()[0] == "mean"
  assert scale == "score 0: uniformly random actions; score 100: the agent that collected the data"


@pytest.mark.usefixtures("compiled_once")
def test_an_interrupted_collection_leaves_nothing(tmp_path, monkeypatch):
  def interrupt(progress):
    raise KeyboardInterrupt

  monkeypatch.setattr(collect, "make_report", lambda: interrupt)
  with pytest.raises(KeyboardInterrupt):
    collect.run(*read_config(small(tmp_path / "full")))
  assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_at_once(run):
  directory, _ = run
  before = (directory / "full" / "manifest.json").read_bytes()
  with pytest.raises(ConfigurationError) as raised:
    read_config(small(directory / "full"))
  every = (directory / "full", *(directory / f"full_{name}" for name in OTHER_POLICIES))
  for problem, path in zip(raised.value.problems, every, strict=True):
    assert problem.startswith(f"{path} exists already")
  assert (directory / "full" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", OTHER_POLICIES)
def test_each_dataset_of_other_policies_is_refused_alone(name, tmp_path):
  (tmp_path / f"full_{name}").mkdir()
  with pytest.raises(ConfigurationError, match=rf"^\S*/full_{name} exists already; a dataset is never overwritten"):
    read_config(small(tmp_path / "full"))
  read_config(small(tmp_path / "full", other_policy_episodes=0))  # which writes none


def test_families_of_which_no_dataset_is_collected_have_no_config():
  assert set(envs.ON_POLICY_FAMILIES) <= set(envs.FAMILIES)
  configs = {path.stem for path in (ROOT / "configs" / "collect").glob("*.py")} - {"__init__", "any", "defaults"}
  assert configs == set(envs.FAMILIES) - set(envs.ON_POLICY_FAMILIES)


@pytest.mark.parametrize("name", sorted(set(envs.FAMILIES) - set(envs.ON_POLICY_FAMILIES)))
def test_every_other_family_has_a_config_that_is_accepted(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # the default directories may exist in the project's own
  request, family, settings = read_config(importlib.import_module(f"configs.collect.{name}").get_config())
  assert family.name == request.family == name
  assert request.directory == f"data/{family.name}"
  assert settings.discount == 0.99


@pytest.mark.parametrize(
  ("name", "episodes", "tasks", "rows", "own_fraction", "directory"),
  [
    ("cartpole_bias", 20, 20, 4, 1.0, "data/cartpole_bias"),  # 5100 tasks of 500 steps
    ("point_rotated", 200, 20, 4, 1.0, "data/point_rotated"),  # of 10 steps
    ("point_robot+time_to_go", 50, 20, 4, 0.5, "data/point_robot_time_to_go"),  # the values of its own file
  ],
)
def test_any_family_has_a_config(name, episodes, tasks, rows, own_fraction, directory, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  request, family, settings = read_config(any_family.get_config(name))
  assert (request.family, family.name, request.directory) == (name, name, directory)
  assert (settings.episodes_per_task, settings.tasks_per_round) == (episodes, tasks)
  assert (settings.batch_size, settings.own_fraction) == (rows, own_fraction)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("batch_sise", 4, "config.batch_sise is unknown"),
    ("batch_size", "4", "config.batch_size = '4': expected an integer"),
    ("batch_size", True, "config.batch_size = True: expected an integer"),
    ("hidden_sizes", 64, "config.hidden_sizes = 64: expected integers"),
    ("discount", 1.1, "discount is 1.1; expected a number above 0"),
    ("family", "pointrobot", "config.family = 'pointrobot': expected one of ant_dir"),
    ("other_policy_episodes", -1, "other_policy_episodes is -1; expected at least 0"),
    ("directory", "", "config.directory = '': expected where the dataset will be"),
    ("starter_episodes", 51, "starter_episodes is 51; expected 1 to episodes_per_task, 50"),
    ("starter_directory", "data/point_robot", "are both 'data/point_robot'"),
  ],
)
def test_a_bad_field_is_named(field, value, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = point_robot.get_config()
  config.starter_directory, config.starter_episodes = "starter", 1
  with config.ignore_type():
    config[field] = value
  with pytest.raises(ConfigurationError, match=message):
    read_config(config)


def test_all_that_is_wrong_is_said_at_once(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "data").mkdir()
  config = point_robot.get_config()
  config.family, config.directory = "pointrobot", "data"
  config.batch_sise = 4
  del config.seed
  with pytest.raises(ConfigurationError) as error:
    read_config(config)
  family, missing, unknown, directory = error.value.problems
  assert unknown == "config.batch_sise is unknown; did you mean config.batch_size?"
  assert missing == "config.seed is missing; expected an integer"
  assert directory.startswith("data exists already")
  assert family.startswith("config.family = 'pointrobot': expected one of ")

  config = point_robot.get_config()
  config.batch_size, config.discount, config.starter_directory, config.starter_episodes = 0, 2.0, "starter", 0
  with pytest.raises(ConfigurationError) as error:
    read_config(config)
  assert [problem.split()[0] for problem in error.value.problems] == ["batch_size", "discount", "starter_episodes"]


def test_a_missing_field_is_named():
  config = point_robot.get_config()
  del config.seed
  with pytest.raises(ConfigurationError, match=r"config\.seed is missing"):
    read_config(config)


@pytest.mark.parametrize(
  ("name", "learned"), [("other_policies_start", 1 / 6), ("other_policies_middle", 0.5), ("other_policies", 1.0)]
)
def test_other_policies_act_in_every_task(run, name, learned):
  directory, _ = run
  other = load_dataset(directory / f"full_{name}", tasks=range(100))
  manifest = read_manifest(directory / f"full_{name}")
  assert "for other tasks" in manifest.behaviour["agent"]
  assert manifest.behaviour["learned"] == learned
  assert other.last.sum() == 100 * 20
  # The rewards are those of the task that was acted in, whoever the policy was made for.
  goals = envs.make("point_robot").tasks["goal"]
  distance = np.linalg.norm(other.next_observation - goals[:, None], axis=-1)
  np.testing.assert_allclose(other.reward, -distance, atol=1e-6)
