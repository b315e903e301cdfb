"""Runs, collections and data commands on a family of one's own, named as `module:attribute`."""

import contextlib
import io
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from miniatures import write_point_robot

from configs import macaw, maml_rl, norml, pearl
from configs.collect import any as any_family
from experiments import collect, data
from experiments.build import build, evaluate_with, examine, kind_of, rebuild, saved_config
from experiments.collect import read_config
from experiments.config_file import make_config
from experiments.run import run
from macaw_jax import load_data, load_run
from macaw_jax.data.manifest import DatasetError
from macaw_jax.envs.names import directory_name
from macaw_jax.errors import ConfigurationError

MODULE = """
from macaw_jax import TaskFamily, make_family

def reach():
  family = make_family("point_robot")
  tasks = {"goal": family.tasks["goal"][:5]}
  return family._replace(horizon=10, tasks=tasks, train_tasks=(0, 1, 2), test_tasks=(3, 4), extrapolation=None)
"""
GYMNASIUM = """
import numpy as np
from macaw_jax import gymnasium_family

def pendulums():
  return gymnasium_family(
    "Pendulum-v1", {"g": np.linspace(5.0, 15.0, 4)}, test_tasks=(1, 2), set_task="attributes", horizon=12
  )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, compiled_once):
  """A working directory with two modules, which are forgotten after the tests of this file."""
  folder = tmp_path_factory.mktemp("own")
  (folder / "own_envs.py").write_text(MODULE)
  (folder / "own_pendulums.py").write_text(GYMNASIUM)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setattr(sys, "path", list(sys.path))
    yield folder
  for name in ("own_envs", "own_pendulums"):
    sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def reach(folder):
  """The run of an agent on data that were collected of a family of one's own, in a variant."""
  return collected_and_trained("own_envs:reach+time_to_go", support="other_policies")


@pytest.fixture(scope="module")
def pendulums(folder):
  """The same of environments of Gymnasium."""
  pytest.importorskip("gymnasium")
  return collected_and_trained("own_pendulums:pendulums")


def collected_and_trained(name, **evaluation):
  """The directory of the run, and what the collection said."""
  config = small_collection(name)
  config.picture = "agent.gif"
  said = silently(collect.run, *read_config(config))
  config = small_run(name)
  config.evaluation.update(evaluation)
  silently(run, config)
  return Path("runs", f"macaw-{directory_name(name)}-0"), said


def silently(step, *arguments):
  with contextlib.redirect_stdout(io.StringIO()) as said:
    step(*arguments)
  return said.getvalue()


def small_collection(name):
  config = any_family.get_config(name)
  small = {"episodes_per_task": 4, "updates_per_round": 2, "batch_size": 8, "hidden_sizes": (8,)}
  config.update(small | {"reference_episodes": 2, "other_policy_episodes": 2})
  return config


def small_run(name, steps=2):
  config = macaw.get_config(name)
  config.algorithm.update({"layer": "dense", "hidden_sizes": (16, 16)})
  config.training.update({"steps": steps, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 2})
  config.training.update({"support_size": 16, "query_size": 16})
  config.evaluation.update({"episodes": 2, "support_size": 16})
  return config


def lines_of(step, *arguments):
  with pytest.raises(ConfigurationError) as raised:
    step(*arguments)
  return raised.value.problems


def results_of(directory):
  return json.loads((directory / "results.json").read_text())


def test_a_family_of_ones_own_is_collected_trained_on_and_evaluated(reach):
  directory, said = reach
  assert directory.name == "macaw-reach_time_to_go-0"
  assert "no picture" not in said  # it is drawn as the points that its states are
  recorded = load_data("data/reach_time_to_go")
  assert (
    recorded.family.name == recorded.manifest.family == results_of(directory)["family"] == "own_envs:reach+time_to_go"
  )
  assert (recorded.manifest.observation_size, recorded.manifest.horizon) == (3, 10)
  left = recorded.train.data.observation[:, :10, 2]
  np.testing.assert_allclose(left, np.tile(np.arange(10, 0, -1) / 10, (3, 1)), rtol=1e-6)
  np.testing.assert_allclose(recorded.train.data.next_observation[:, :10, 2], left - 0.1, atol=1e-6)
  rows = results_of(directory)["rows"]
  assert [(row["task_index"], row["protocol"]) for row in rows] == [(index, "offline_other_policy") for index in (3, 4)]
  assert load_run(directory).statistics.observation_mean.shape == (3,)


def test_environments_of_gymnasium_are_collected_trained_on_and_evaluated(pendulums):
  directory, said = pendulums
  assert "no picture of an episode: own_pendulums:pendulums: only MuJoCo bodies" in said
  recorded = load_data("data/pendulums")
  assert recorded.manifest.family == results_of(directory)["family"] == "own_pendulums:pendulums"
  assert recorded.family.differ_in == "physics"  # nothing is relabelled
  # Each transition is that of its task's gravity: 12 steps of 0.05 s from each angle and speed.
  for task, gravity in enumerate(np.linspace(5.0, 15.0, 4)[[0, 3]]):
    data = jax.tree.map(lambda leaf, task=task: leaf[task], recorded.train.data)
    speed = data.observation[:, 2] + 0.05 * (1.5 * gravity * data.observation[:, 1] + 6.0 * data.action[:, 0])
    np.testing.assert_allclose(data.next_observation[:, 2], np.clip(speed, -8.0, 8.0), atol=1e-4)
  trained = rebuild(directory, saved_config(directory))
  for support in ("random", "online"):
    rows = evaluate_with(trained, {"evaluation.support": support}, jax.random.key(0)).rows
    assert [row.task_index for row in rows] == [1, 2]
    assert np.isfinite([row.returns for row in rows]).all()


def test_a_changed_module_is_other_code(reach):
  directory, _ = reach
  code = directory / "code.json"
  before = code.read_text()
  document = json.loads(before)
  document["files"]["own_envs.py"] = "0" * len(document["files"]["own_envs.py"])
  code.write_text(json.dumps(document))
  config = small_run("own_envs:reach+time_to_go")
  config.evaluation.support = "other_policies"
  problems = lines_of(run, config)
  code.write_text(before)
  assert problems[0] == f"{directory} holds a run with own_envs.py changed"


@pytest.mark.parametrize("configs", [pearl, maml_rl, norml])
def test_agents_that_act_take_it(configs, folder):
  config = configs.get_config("own_envs:reach+time_to_go")
  examined = examine(config)
  assert examined.family.horizon == 10
  assert kind_of(config).data_name(config) == "reach_time_to_go"
  run_of_it = silently_built(config)
  assert str(run_of_it.members[0].directory).endswith("-reach_time_to_go-0")


def silently_built(config):
  with contextlib.redirect_stdout(io.StringIO()):
    return build(config)


def test_on_policy_agents_and_mjx_refuse_an_environment_of_gymnasium(folder):
  pytest.importorskip("gymnasium")
  name = "own_pendulums:pendulums"
  refusal = f"family '{name}' has environments of Gymnasium, which no compiled program can step: "
  (line,) = lines_of(examine, maml_rl.get_config(name))
  assert line.startswith(refusal)
  config = pearl.get_config(name)
  config.evaluation.engine = "mjx"
  (line,) = lines_of(examine, config)
  assert line.startswith(f"config.evaluation.engine = 'mjx': {refusal}")
  config.evaluation.engine, config.collection.critic_reward = "native", name
  (line,) = lines_of(examine, config)
  assert line.startswith(f"config.collection.critic_reward = '{name}': its reward cannot be computed from tasks and")


def test_a_family_that_cannot_be_made_is_said_with_its_field(folder):
  config = norml.get_config()
  config.rollouts.family = "own_envs:rich"
  (line,) = lines_of(examine, config)
  assert line == f"config.rollouts.family: family 'own_envs:rich': {folder}/own_envs.py has no 'rich'; expected reach"
  config = small_collection("own_envs:reach")
  config.family = "own_envs:rich"
  (line,) = lines_of(read_config, config)
  assert line.startswith("config.family: family 'own_envs:rich': ")
  (line,) = lines_of(make_config, ["collect/any:own_envs:rich"], [], read_config)
  assert line.startswith("--config=collect/any:own_envs:rich: family 'own_envs:rich': ")


def test_data_commands_import_no_module_that_a_manifest_names(folder):
  """Only runs, evaluations and `load_data` do; where they cannot, the line names the dataset."""
  (folder / "spy.py").write_text("raise AssertionError('imported')\n")
  write_point_robot(folder / "data" / "spied", num_episodes=4, family="spy:reach")
  assert "spy:reach" in silently(data.list_datasets, ["data"])
  assert "spy:reach" in silently(lambda: data.inspect_dataset("data/spied", columns=False))
  assert "OK" in silently(data.validate_datasets, ["data/spied"])
  config = macaw.get_config()
  config.dataset.directory = "data/spied"
  expected = f"data/spied: family 'spy:reach': {folder}/spy.py: line 1: AssertionError: imported"
  assert expected in lines_of(examine, config)
  with pytest.raises(DatasetError, match="imported"):
    load_data("data/spied")


def test_an_evaluation_of_a_run_whose_module_is_gone_is_one_line(reach, folder, monkeypatch):
  directory, _ = reach
  monkeypatch.delitem(sys.modules, "own_envs")
  (folder / "own_envs.py").rename(folder / "gone.py")
  try:
    (line,) = lines_of(saved_config, directory)
  finally:
    (folder / "gone.py").rename(folder / "own_envs.py")
  assert line.startswith(
    f"{directory}: data/reach_time_to_go: family 'own_envs:reach': there is no module 'own_envs' in "
  )
