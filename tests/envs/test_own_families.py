"""Families that are not of the package: found by `module:attribute` or by an entry point, and checked when made."""

import sys
from importlib import metadata

import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.check import check_family
from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, TaskSplit
from macaw_jax.envs.names import directory_name, parse_name
from macaw_jax.errors import ConfigurationError
from macaw_jax.own_modules import is_own

POINT = envs.make("point_robot")
HOPPER = envs.make("hopper_params")

MODULE = """
from macaw_jax import TaskFamily, make_family

def reach():
  return make_family("point_robot")._replace(horizon=7)

ready = make_family("point_robot_wind")
number = 5

def fails():
  return 1 / 0

def sized(size):
  return make_family("point_robot")

def broken():
  return make_family("point_robot")._replace(observe=observe)

def observe(task, state):
  return state["x"]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
  """A function that writes a module into the working directory; it is forgotten after the test."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
  before = set(sys.modules)

  def write(text=MODULE, name="own_envs"):
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    return file

  yield write
  for name in set(sys.modules) - before:
    del sys.modules[name]


def line_of(name):
  """The line with which making a family ends."""
  with pytest.raises(ConfigurationError) as raised:
    envs.make(name)
  (line,) = raised.value.problems
  assert "\n" not in line
  return line


def test_a_family_is_found_in_a_module_of_the_working_directory(module, capsys):
  file = module()
  family = envs.make("own_envs:reach")
  assert (family.name, family.horizon, family.source) == ("own_envs:reach", 7, str(file))
  np.testing.assert_array_equal(family.tasks["goal"], POINT.tasks["goal"])
  assert capsys.readouterr().out == f"family 'own_envs:reach': module own_envs of {file}\n"
  assert envs.make("own_envs:ready").differ_in == "physics"  # the attribute itself
  assert capsys.readouterr().out == ""  # the module is known


def test_a_variant_of_it_keeps_the_whole_name(module):
  module()
  family = envs.make("own_envs:reach+time_to_go")
  assert (family.name, family.observation_size) == ("own_envs:reach+time_to_go", 3)


def test_an_installed_entry_point_is_found_by_its_name(module, tmp_path, monkeypatch):
  module()
  info = tmp_path / "site" / "own_package-1.0.dist-info"
  info.mkdir(parents=True)
  (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own_package\nVersion: 1.0\n")
  groups = "[macaw_jax.families]\nfar_reach = own_envs:reach\npoint_robot = own_envs:ready\n"
  (info / "entry_points.txt").write_text(groups)
  assert not envs.is_name("far_reach")
  monkeypatch.syspath_prepend(tmp_path / "site")
  assert "own_package" in {each.name for each in metadata.distributions()}
  assert envs.is_name("far_reach+time_to_go")
  family = envs.make("far_reach")
  assert (family.name, family.horizon) == ("far_reach", 7)
  assert envs.make("point_robot").differ_in == "rewards"  # a name of the package comes first


def test_what_cannot_be_found_is_one_line(module, tmp_path):
  file = module()
  assert line_of("point_rebot").startswith("no task family is called 'point_rebot'; expected one of ant_dir, ")
  assert line_of("point_robot+time").startswith("no task family is called 'point_robot+time'; expected one of ")
  assert line_of("point_robot+time_to_go+time_to_go").startswith("no task family is called ")
  assert line_of("own_env:reach").startswith("family 'own_env:reach': there is no module 'own_env' in ")
  assert str(tmp_path) in line_of("own_env:reach")
  assert (
    line_of("own_envs:rich") == f"family 'own_envs:rich': {file} has no 'rich'; expected reach, ready, fails, broken"
  )
  assert line_of("own_envs:number").startswith(
    f"family 'own_envs:number': number of {file} is of type int; expected a TaskFamily"
  )


def test_an_error_in_the_module_is_said_with_its_line(module):
  file = module()
  assert line_of("own_envs:fails") == f"family 'own_envs:fails': {file}: line 11: ZeroDivisionError: division by zero"
  assert line_of("own_envs:sized").startswith(f"family 'own_envs:sized': {file}: TypeError: sized() missing 1 required")
  assert line_of("own_envs:broken").startswith(f"family 'own_envs:broken': {file}: observe: line 20: ")
  wrong = module("import numpy\nimport no_such_package\n", name="wrong_envs")
  expected = f"family 'wrong_envs:a': {wrong}: line 2: ModuleNotFoundError: No module named 'no_such_package'"
  assert line_of("wrong_envs:a") == expected
  wrong = module("def get(:\n", name="no_python")
  assert line_of("no_python:a").startswith(f"family 'no_python:a': {wrong}: line 1: SyntaxError: ")
  ending = module("raise SystemExit(3)\n", name="ending")
  assert line_of("ending:a") == f"family 'ending:a': {ending}: line 1: SystemExit: 3"


def test_a_module_inside_a_package_is_found_and_a_missing_one_named(module, tmp_path):
  (tmp_path / "own_project").mkdir()
  (tmp_path / "own_project" / "__init__.py").write_text("")
  module(name="own_project/worlds")
  assert envs.make("own_project.worlds:reach").horizon == 7
  assert "there is no module 'own_project.world' in " in line_of("own_project.world:reach")


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_every_family_of_the_package_passes_the_check(name):
  family = envs.make(name)
  assert check_family(family, "a file") is family


def with_state(state):
  """Resets to a state of another shape, which moves and is observed all the same."""
  return {"reset": lambda task, key: state, "observe": lambda task, state: jnp.zeros(2)}


NEXT = AnalyticDynamics(lambda task, state, action: jnp.zeros(3))
BODY = HOPPER.dynamics


@pytest.mark.parametrize(
  ("family", "changes", "line"),
  [
    (POINT, {"observation_size": 0}, "observation_size is 0; expected an integer of at least 1"),
    (POINT, {"horizon": 2.5}, "horizon is 2.5; expected an integer of at least 1"),
    (POINT, {"discrete_actions": 3}, "discrete_actions is 3; expected True or False"),
    (POINT, {"differ_in": "goals"}, "differ_in is 'goals'; expected 'rewards' or 'physics'"),
    (POINT, {"tasks": np.zeros(3)}, "tasks is [0. 0. 0.]; expected a dict of arrays by name"),
    (POINT, {"tasks": {"goal": [1.0]}}, "tasks['goal'] is [1.0]; expected an array of finite numbers"),
    (POINT, {"tasks": {"goal": np.array([np.nan])}}, "tasks['goal'] is [nan]; expected an array of finite"),
    (
      POINT,
      {"tasks": {"goal": np.zeros((4, 2)), "size": np.zeros(3)}},
      "the number of tasks is {'goal': 4, 'size': 3}; expected one number for all",
    ),
    (POINT, {"test_tasks": (1, 100)}, "test_tasks is (1, 100); expected one or more different integers from 0 to 99"),
    (POINT, {"train_tasks": ()}, "train_tasks is (); expected one or more different integers from 0 to 99"),
    (POINT, {"train_tasks": (1, 1)}, "train_tasks is (1, 1); expected one or more different integers from 0 to 99"),
    (POINT, {"extrapolation": TaskSplit((0,), (-1,))}, "extrapolation.test is (-1,); expected one or more different"),
    (POINT, {"dynamics": None}, "dynamics is None; expected AnalyticDynamics or MujocoDynamics"),
    (POINT, {"reset": lambda task, key: ()}, "what reset gives is (); expected a state, a pytree of arrays"),
    (
      POINT,
      {"dynamics": NEXT},
      "what dynamics.step gives is float32[3]; expected float32[2], as reset gives",
    ),
    (POINT, with_state({"x": jnp.zeros(())}), "dynamics.step: "),
    (
      POINT,
      {"observation_size": 3},
      "the shape of what observe gives is (2,); expected (3,), as observation_size says",
    ),
    (POINT, {"reward": lambda *given: jnp.zeros(2)}, "the shape of what reward gives is (2,); expected (), one number"),
    (POINT, {"terminal": lambda *given: 0.0}, "what terminal gives is float32[]; expected bool[], true or false"),
    (POINT, {"reward": lambda task, *given: task["gaol"]}, "reward: KeyError: 'gaol'"),
    (
      HOPPER,
      {"reset": lambda task, key: Physics(jnp.zeros(5), jnp.zeros(6))},
      "what reset gives is {'qpos': (5,), 'qvel': (6,)}; expected Physics of the shapes {'qpos': (6,), 'qvel': (6,)}",
    ),
    (HOPPER, {"reset": lambda task, key: jnp.zeros(6)}, "what reset gives is "),
    (HOPPER, {"action_size": 2}, "the shape of what actuate gives is (2,); expected (3,)"),
    (
      HOPPER,
      {"dynamics": BODY._replace(derived=("forces",))},
      "dynamics.derived is 'forces'; expected names of fields",
    ),
    (HOPPER, {"dynamics": BODY._replace(randomised=("mass",))}, "dynamics.randomised is 'mass'; expected fields of"),
    (HOPPER, {"dynamics": MujocoDynamics("no_such.xml", 5)}, "ParseXML: Error opening file 'no_such.xml'"),
  ],
)
def test_a_family_whose_parts_do_not_fit_is_refused(family, changes, line):
  with pytest.raises(ConfigurationError) as raised:
    check_family(family._replace(name="own:reach", **changes), "own.py")
  (found,) = raised.value.problems
  assert found.startswith(f"family 'own:reach': own.py: {line}")


def test_a_physics_that_reads_the_task_must_say_so():
  windy = envs.make("point_robot_wind")
  with pytest.raises(ConfigurationError, match="differ_in is 'rewards'; expected 'physics', as a step leads elsewhere"):
    check_family(windy._replace(differ_in="rewards"), "own.py")


def test_the_masses_of_a_task_are_those_of_the_model():
  tasks = HOPPER.tasks | {"body_mass": np.ones((HOPPER.num_tasks, 2), np.float32)}
  with pytest.raises(
    ConfigurationError, match=r"the shape of tasks\['body_mass'\] is \(2,\); expected \(5,\) for each"
  ):
    check_family(HOPPER._replace(tasks=tasks), "own.py")


@pytest.mark.parametrize(
  ("name", "base", "variants", "own", "directory"),
  [
    ("point_robot", "point_robot", (), False, "point_robot"),
    ("my_envs:reach", "my_envs:reach", (), True, "reach"),
    ("a.b:reach+time_to_go", "a.b:reach", ("time_to_go",), True, "reach_time_to_go"),
    ("../x:reach", "../x:reach", (), False, "reach"),
    ("my_envs:", "my_envs:", (), False, ""),
  ],
)
def test_the_parts_of_a_name(name, base, variants, own, directory):
  assert parse_name(name) == (base, variants)
  assert is_own(base) == own
  assert directory_name(name) == directory
