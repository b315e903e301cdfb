"""docs/own_environment.md: its files are families, its commands run, and its lines are those that are said."""

import pathlib
import pickle
import re
import sys
import tomllib
import types
from typing import NamedTuple

import numpy as np
import pytest
from child_processes import run_python

from experiments.build import examine
from experiments.collect import read_config
from experiments.config_file import make_config
from macaw_jax import envs
from macaw_jax.envs.lookup import GROUP
from macaw_jax.errors import ConfigurationError

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own_environment.md").read_text()
# Of the commands that are run.
SMALL = {
  "collect": "episodes_per_task=6 updates_per_round=2 batch_size=8 reference_episodes=2 other_policy_episodes=1",
  "run": "training.steps=2 training.log_every=1 training.evaluate_every=2 training.checkpoint_every=2 "
  "training.support_size=16 training.query_size=16 evaluation.support_size=16 evaluation.episodes=1 "
  "algorithm.layer=dense algorithm.hidden_sizes=(8,8)",
}


def files():
  """Name and text of each file that the page shows."""
  return dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))


def commands():
  """Module and arguments of each command, in the order of the page."""
  blocks = [text for language, text in re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL) if not language]
  return [line.removeprefix("python -m experiments.").split() for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A working directory with the files of the page; their modules are forgotten after the tests of this file."""
  folder = tmp_path_factory.mktemp("own")
  for name, text in files().items():
    (folder / name).write_text(text)
  for name in ("configs", "experiments"):
    (folder / name).symlink_to(ROOT / name)
  before = set(sys.modules)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setattr(sys, "path", list(sys.path))
    yield folder
  for name in {path.stem for path in folder.glob("*.py")} & set(sys.modules) - before:
    del sys.modules[name]


def test_a_stranger_collects_looks_trains_evaluates_and_compares(folder):
  said = {}
  first = commands()[:5]
  assert [command for command, *_ in first] == ["collect", "data", "run", "evaluate", "compare"]
  for command, *arguments in first:
    small = [f"--config.{field}" for field in SMALL.get(command, "").split()]
    # Without -P, Python itself would look for modules in the working directory, as the console command does not.
    said[command] = run_python(folder, "-P", "-m", "macaw_jax.cli", command, *arguments, *small)
  assert f"family 'my_envs:reach': module my_envs of {folder}/my_envs.py" in said["collect"]
  assert "my_envs:reach" in said["data"]
  assert "10 steps" not in said["run"]
  assert "8 training tasks, 2 test tasks; observations of 2, actions of 1, episodes of 30 steps" in said["run"]
  assert "test mean of 2 tasks" in said["evaluate"]
  assert "macaw" in said["compare"]
  (script,) = re.findall(r"From a script:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
  names = {}
  exec(script, names)
  assert names["data"].family.name == names["family"].name == "my_envs:reach"


def test_the_configurations_of_the_other_commands_are_right(folder):
  others = [(command, argument.removeprefix("--config=")) for command, argument in commands()[5:]]
  assert len(others) == 6
  for command, location in others:
    if "pendulums" in location:
      pytest.importorskip("gymnasium")
    config = make_config([location], [], lambda config: None)
    if command == "collect":
      request, family, _ = read_config(config)
      assert request.family == family.name == location.partition(":")[2]
    elif "dataset" not in config:
      examine(config)


class Stand(NamedTuple):
  """A task as Meta-World has them."""

  env_name: str
  data: bytes


def stand_in_for_metaworld():
  """The part of Meta-World's interface that the page uses."""
  gymnasium = pytest.importorskip("gymnasium")

  class Reach(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
    goal = None

    def set_task(self, task):
      self.goal = pickle.loads(task.data)["rand_vec"]

    def reset(self, *, seed=None, options=None):
      super().reset(seed=seed)
      return np.asarray(self.goal), {}

    def step(self, action):
      return np.asarray(self.goal), 0.0, False, False, {}

  class ML1:
    def __init__(self, name, seed=None):
      generator = np.random.RandomState(seed)
      goals = [generator.uniform(-1.0, 1.0, 3) for _ in range(100)]
      tasks = [Stand(name, pickle.dumps({"rand_vec": goal})) for goal in goals]
      self.train_classes, self.train_tasks, self.test_tasks = {name: Reach}, tasks[:50], tasks[50:]

  return types.SimpleNamespace(ML1=ML1)


def test_a_task_of_meta_world_is_told_by_its_own_function(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, "metaworld", stand_in_for_metaworld())
  family = envs.make("my_metaworld:reach")
  assert (family.num_tasks, len(family.train_tasks), family.horizon, family.action_size) == (100, 50, 500, 3)
  some = {name: values[[3, 70]] for name, values in family.tasks.items()}
  observation = family.dynamics.environments.reset(some, np.zeros(2, np.uint32))
  np.testing.assert_allclose(observation, family.tasks["goal"][[3, 70]], rtol=1e-6)


MISTAKES = {
  "a module that is not there": "my_env:reach",
  "an error in the module": "my_envs:reach",
  "another attribute": "my_envs:rich",
  "something else than a family": "my_envs:np",
  "an observation of another size": "my_envs:reach",
  "a step to another kind of state": "my_envs:reach",
  "a step that reads the task": "my_envs:reach",
  "a task that is not there": "my_envs:reach",
}
CHANGES = {
  "an error in the module": ('"""A cart', 'import os\n\nimport no_such_package\n"""A cart'),
  "an observation of another size": ("observation_size=2", "observation_size=3"),
  "a step to another kind of state": (
    'return {"place": state["place"] + 0.1 * speed, "speed": speed}',
    "return action",
  ),
  "a step that reads the task": ('"place"] + 0.1 * speed', '"place"] + task["target"] * speed'),
  "a task that is not there": ("test_tasks=(2, 7)", "test_tasks=(2, 10)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_as_the_page_says(mistake, tmp_path, monkeypatch):
  (row,) = re.findall(rf"^\| {mistake} \| `(.*?)`", PAGE, re.MULTILINE)
  text = files()["my_envs.py"]
  before, after = CHANGES.get(mistake, ("", ""))
  assert before in text
  (tmp_path / "my_envs.py").write_text(text.replace(before, after) if before else text)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [place for place in sys.path if not pathlib.Path(place, "my_envs.py").exists()])
  monkeypatch.delitem(sys.modules, "my_envs", raising=False)
  with pytest.raises(ConfigurationError) as raised:
    envs.make(MISTAKES[mistake])
  sys.modules.pop("my_envs", None)  # Not by the fixture, which would put the module with the mistake back.
  assert re.fullmatch(".*".join(map(re.escape, row.split("..."))), str(raised.value)), str(raised.value)


def test_the_entry_point_is_in_the_group_that_is_looked_in():
  (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
  assert tomllib.loads(text)["project"]["entry-points"] == {GROUP: {"reach": "my_envs:reach"}}
