"""Whatever is wrong with a configuration is said at once, in lines that name it, and before anything is made."""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from wrong_configurations import CASES, MACAW, REPOSITORY, page, write_workspace

from configs import macaw
from experiments.config_file import make_config, take_overrides
from experiments.configuration import ConfigurationError, flatten
from experiments.population import members_of
from experiments.run import check
from experiments.validation import ANY_PROBLEM, HALVING, validate
from macaw_jax.algorithms import ALGORITHMS, ON_POLICY
from macaw_jax.types import TaskBatch, Transition


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
  """A directory with the files that the cases name."""
  directory = tmp_path_factory.mktemp("workspace")
  write_workspace(directory)
  return directory


def problems_of(*arguments):
  """What the command says of its arguments, one line a problem."""
  overrides, others = take_overrides(arguments)
  locations = [each.removeprefix("--config=") for each in others]
  return problems_raised(lambda: check(make_config(locations, overrides, check)))


def problems_raised(step):
  try:
    step()
  except ConfigurationError as error:
    return tuple(" ".join(problem.split()) for problem in error.problems)
  return ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_is_said_of_a_wrong_configuration(case, workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  before = sorted(workspace.iterdir())
  assert problems_of(*case.arguments) == case.lines
  assert sorted(workspace.iterdir()) == before


def test_the_page_shows_the_table():
  assert (REPOSITORY / "docs" / "wrong_configurations.md").read_text() == page()


def test_right_configurations_pass(workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  assert problems_of(MACAW) == ()
  right = "--config.seed 7 --noconfig.algorithm.first_order --config.algorithm.hidden_sizes=(64,64)"
  assert problems_of(MACAW, *right.split(), "--config.dataset.directory=data/whole") == ()
  assert problems_of("--config=configs/multitask_bc.py", "--config.population.seeds=4", "--config.devices.seed=2") == ()


COMMANDS = [case for case in CASES if case.what in ("wrong from end to end", "a get_config that raises")] + [
  next(case for case in CASES if case.what == what)
  for what in ("several overrides wrong, and a value", "a configuration twice")
]


def command(workspace, *arguments):
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
  return subprocess.run(
    [sys.executable, "-m", "experiments.run", *arguments],
    cwd=workspace,
    capture_output=True,
    text=True,
    env=environment,
  )


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.what)
def test_the_command_says_it_on_stderr_and_exits_with_two(case, workspace):
  before = sorted(workspace.iterdir())
  process = command(workspace, *case.arguments)
  assert process.stderr.splitlines() == [f"error: {line}" for line in case.lines]
  assert (process.returncode, process.stdout) == (2, "")
  assert sorted(path for path in workspace.iterdir() if path.name != "__pycache__") == [
    path for path in before if path.name != "__pycache__"
  ]


@pytest.mark.parametrize(
  ("arguments", "line"),
  [
    ((), "no configuration; expected --config=configs/<name>.py"),
    (("--config",), "command line: Missing value for flag --config"),
    ((MACAW, "extra"), "command line: unexpected argument 'extra'; expected --<flag>=<value> only"),
    ((MACAW, "--confg.seed=1"), "command line: Unknown command line flag 'confg.seed'"),
  ],
)
def test_what_is_no_configuration_is_one_line_too(arguments, line, workspace):
  process = command(workspace, *arguments)
  assert process.stderr.splitlines() == [f"error: {line}"]
  assert (process.returncode, process.stdout) == (2, "")


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"corro", *ON_POLICY}))
def test_supports_of_one_transition_are_refused_where_the_algorithm_cannot_halve_them(name):
  rows = lambda *sizes: jnp.zeros((1, 1, *sizes))  # noqa: E731
  transitions = Transition(rows(1), rows(1), rows(), rows(1), rows(), rows(), rows(), rows(1), rows())
  algorithm = ALGORITHMS[name](ANY_PROBLEM, hidden_sizes=(4,))

  def update():
    state = algorithm.init(jax.random.key(0))
    return algorithm.update(state, TaskBatch(transitions, transitions, jnp.zeros(1, int)), jax.random.key(1))

  if name in HALVING:
    with pytest.raises(ValueError, match="a support of one transition"):
      jax.eval_shape(update)
  else:
    jax.eval_shape(update)


def test_no_device_is_asked_for_before_processes_are_connected():
  code = (
    "from jax._src import xla_bridge; from configs import macaw; from experiments.population import members_of\n"
    "from experiments.validation import validate\n"
    "config = macaw.get_config(); config.population.grid = 'temperature=0.5,1'; config.population.seeds = 2\n"
    "validate(config); members_of(config); print(xla_bridge.backends_are_initialized())"
  )
  process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
  assert process.stdout == "False\n", process.stderr
  jax.devices()
  assert jax._src.xla_bridge.backends_are_initialized()  # The question is answered so where a device was asked for.


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
  monkeypatch.chdir(REPOSITORY)
  config = macaw.get_config()
  config.output_directory = str(tmp_path / "closed" / "run")
  (tmp_path / "closed").mkdir()
  monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "closed")  # Root may write anywhere.
  with pytest.raises(ConfigurationError, match=r"closed cannot be written to; expected a place for the folder .*run"):
    validate(config)
  validate(config, starts=False)


ANYTHING = (
  None,
  True,
  0,
  -1,
  10**40,
  0.5,
  math.nan,
  "",
  "x" * 300,
  "a\0b",
  "td_lambda",
  (),
  ("a",),
  [1.5],
  {"x": 1},
  1j,
)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_stands_in_a_field_there_is_an_answer_and_no_other_error(seed, monkeypatch):
  monkeypatch.chdir(REPOSITORY)
  choose = random.Random(seed)
  values = flatten(macaw.get_config().to_dict())
  for name in choose.sample(sorted(values), choose.choice([1, 2, 6])):
    values[name] = choose.choice(ANYTHING)
  for name in choose.sample(sorted(values), choose.choice([0, 0, 1])):
    del values[name]
  nested = {}
  for name, value in values.items():
    section, _, last = name.rpartition(".")
    (nested.setdefault(section, {}) if section else nested)[last] = value
  problems = problems_raised(lambda: validate(ml_collections.ConfigDict(nested)))
  assert len(set(problems)) == len(problems)
  assert all(problem.strip() for problem in problems)


def test_a_run_changes_nothing_in_its_configuration(workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  grid = "--config.population.grid=temperature=0.5,1"
  config = make_config(["configs/macaw.py"], [grid, "--config.population.seeds=2"], validate)
  before = config.to_dict()
  validate(config)
  members = members_of(config)
  assert config.is_locked
  assert config.to_dict() == before
  assert len(members) == 4
  assert all(member.config.is_locked for member in members)


def test_overrides_are_read_as_what_the_field_holds(tmp_path):
  (tmp_path / "small.py").write_text(
    "import ml_collections\nfrom ml_collections import config_dict\n"
    "def get_config(size='1'):\n"
    "  values = {'a': 1, 'b': 0.5, 'c': 'x', 'd': True, 'e': (1, 2), 'f': [1], 'g': {'h': 2}}\n"
    "  config = ml_collections.ConfigDict(values)\n"
    "  config.n = config_dict.placeholder(int)\n"
    "  config.size = int(size)\n"
    "  config.double = config.get_ref('size') * 2\n"
    "  return config\n"
  )
  arguments = "--config.a=-3 --config.b 2 -config.c=y=z --noconfig.d --config.e=(3,) --config.f=[1,2] --config.g.h=7"
  overrides, others = take_overrides(
    [*arguments.split(), "--config.n=4", "--config.a=5", "--seed=1", "--", "--config.a=6"]
  )
  assert others == ["--seed=1", "--", "--config.a=6"]
  config = make_config([f"{tmp_path / 'small.py'}:8"], overrides, lambda config: None)
  expected = {"a": 5, "b": 2.0, "c": "y=z", "d": False, "e": (3,), "f": [1, 2], "g": {"h": 7}, "n": 4}
  assert config.to_dict() == expected | {"size": 8, "double": 16}
  assert isinstance(config.b, float)
  with pytest.raises(AttributeError):
    config.new = 1


def test_an_override_without_a_value_takes_the_next_argument_unless_it_is_a_flag():
  assert take_overrides(["--config.switch", "--config.other"])[0] == ["--config.switch=", "--config.other="]
  assert take_overrides(["--config.number", "-5", "rest"]) == (["--config.number=-5"], ["rest"])
