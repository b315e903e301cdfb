"""Whatever is wrong with a configuration is said at once, in lines that name it, and before anything is made."""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import ml_collections
import pytest
from wrong_configurations import CASES, MACAW, REPOSITORY, problems_of, rows, write_workspace

from configs import macaw
from experiments.build import examine
from experiments.config_file import make_config, take_overrides
from experiments.variants import members_of
from macaw_jax.errors import ConfigurationError
from macaw_jax.json_files import flatten


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
  """A directory with the files that the cases name."""
  directory = tmp_path_factory.mktemp("workspace")
  write_workspace(directory)
  return directory


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_each_line_names_what_is_wrong(case, workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  before = sorted(workspace.iterdir())
  problems = problems_of(case.arguments)
  assert len(problems) == len(case.named), problems
  for problem, words in zip(problems, case.named, strict=True):
    assert all(word in problem for word in words), (problem, words)
  assert sorted(workspace.iterdir()) == before


def test_the_page_shows_every_case():
  lines = (REPOSITORY / "docs" / "wrong_configurations.md").read_text().splitlines()
  table = [line.split(" | ") for line in lines if line.startswith("| ")][1:]
  assert [(cells[0].removeprefix("| "), cells[1].strip("`")) for cells in table] == rows()
  for (*_, said), case in zip(table, CASES, strict=True):
    for line, words in zip(said.split("<br>"), case.named, strict=True):
      assert all(word in line for word in words)


def test_right_configurations_pass(workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  assert problems_of([MACAW]) == []
  right = "--config.seed 7 --noconfig.algorithm.first_order --config.algorithm.hidden_sizes=(64,64)"
  assert problems_of([MACAW, *right.split(), "--config.dataset.directory=data/whole"]) == []
  both = ["--config.population.seeds=4", "--config.devices.seed=2"]
  assert problems_of(["--config=configs/multitask_bc.py", *both]) == []


def test_the_command_says_all_on_stderr_and_exits_with_two(workspace):
  """The one process: launching, and everything that is wrong at once."""
  (case,) = (case for case in CASES if case.what == "several overrides wrong, and a value")
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
  command = [sys.executable, "-m", "experiments.run", *case.arguments]
  process = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=environment)
  problems = process.stderr.splitlines()
  assert [line.removeprefix("error: ") for line in problems] == problems_of(case.arguments)
  assert all(line.startswith("error: ") for line in problems)
  assert (process.returncode, process.stdout) == (2, "")


def test_no_device_is_asked_for_before_processes_are_connected():
  code = """
from configs import focal, macaw, norml, pearl
from experiments.build import examine, kind_of
from experiments.variants import members_of
from jax._src import xla_bridge
for module in (macaw, focal, pearl, norml):
  config = module.get_config("cheetah_swapped") if module is norml else module.get_config("cheetah_dir")
  config.population.seeds = 2
  examine(config)
  members_of(config, kind_of(config).data_name(config))
print(xla_bridge.backends_are_initialized())
"""
  process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
  assert process.stdout == "False\n", process.stderr


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
  monkeypatch.chdir(REPOSITORY)
  config = macaw.get_config()
  config.output_directory = str(tmp_path / "closed" / "run")
  (tmp_path / "closed").mkdir()
  monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "closed")  # Root may write anywhere.
  with pytest.raises(ConfigurationError, match=r"config\.output_directory: .*closed cannot be written to"):
    examine(config)
  examine(config, starts=False)


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


@pytest.mark.parametrize("name", ["macaw", "pearl", "norml"])
def test_whatever_stands_in_a_field_there_is_an_answer_and_no_other_error(name, monkeypatch):
  monkeypatch.chdir(REPOSITORY)
  get_config = __import__(f"configs.{name}", fromlist=["get_config"]).get_config
  choose, given = random.Random(0), flatten(get_config().to_dict())
  for _ in range(25):
    values = dict(given)
    for field in choose.sample(sorted(values), choose.choice([1, 2, 6])):
      values[field] = choose.choice(ANYTHING)
    for field in choose.sample(sorted(values), choose.choice([0, 0, 1])):
      del values[field]
    problems = ()
    try:
      examine(ml_collections.ConfigDict(nested(values)))
    except ConfigurationError as error:
      problems = error.problems
    assert len(set(problems)) == len(problems)
    assert all(problem.strip() for problem in problems)


def nested(values):
  """`{"training.steps": 1}` as `{"training": {"steps": 1}}`."""
  found = {}
  for name, value in values.items():
    *sections, last = name.split(".")
    section = found
    for each in sections:
      section = section.setdefault(each, {})
    section[last] = value
  return found


def test_a_run_changes_nothing_in_its_configuration(workspace, monkeypatch):
  monkeypatch.chdir(workspace)
  grid = "--config.population.grid=temperature=0.5,1"
  config = make_config(["configs/macaw.py"], [grid, "--config.population.seeds=2"], examine)
  before = config.to_dict()
  examine(config)
  assert len(members_of(config, "cheetah_dir")) == 4
  assert config.is_locked
  assert config.to_dict() == before


def test_a_configuration_of_no_kind_is_refused():
  for sections in ((), ("dataset", "rollouts")):
    config = ml_collections.ConfigDict({name: {} for name in sections})
    with pytest.raises(ConfigurationError, match="dataset, collection, rollouts"):
      examine(config)


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
  overrides, others = take_overrides([*arguments.split(), "--config.n=4", "--seed=1", "--", "--config.a=6"])
  assert others == ["--seed=1", "--", "--config.a=6"]
  config = make_config([f"{tmp_path / 'small.py'}:8"], overrides, lambda config: None)
  expected = {"a": -3, "b": 2.0, "c": "y=z", "d": False, "e": (3,), "f": [1, 2], "g": {"h": 7}, "n": 4}
  assert config.to_dict() == expected | {"size": 8, "double": 16}
  assert isinstance(config.b, float)
  with pytest.raises(AttributeError):
    config.new = 1


def test_an_override_without_a_value_takes_the_next_argument_unless_it_is_a_flag():
  assert take_overrides(["--config.switch", "--config.other"])[0] == ["--config.switch=", "--config.other="]
  assert take_overrides(["--config.number", "-5", "rest"]) == (["--config.number=-5"], ["rest"])
