"""How commands read their flags, what their help says, how they end, and the file of `--picture`."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments import command_line, evaluate, run
from experiments.command_line import (
  BAD_INPUT,
  FAILURE,
  add_evaluation,
  add_runs,
  check_picture,
  given_config,
  launch,
  make_parser,
)
from experiments.config_file import make_config
from macaw_jax import cli
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.training.interruption import Interrupted

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(cli.COMMANDS)


@pytest.mark.parametrize(
  ("raised", "code", "said"),
  [
    (
      ConfigurationError("one is wrong", "and so is another"),
      BAD_INPUT,
      ["error: one is wrong", "error: and so is another"],
    ),
    (TrainingError("not all could be saved"), FAILURE, ["error: not all could be saved"]),
    (
      OSError(28, "No space left on device", "results.json"),
      FAILURE,
      ["error: [Errno 28] No space left on device: 'results.json'"],
    ),
    (Interrupted(15), 143, ["stopped by SIGTERM"]),
    (KeyboardInterrupt(), 130, ["stopped by SIGINT"]),
  ],
  ids=lambda value: type(value).__name__,
)
def test_what_ends_a_command_is_one_line_a_problem_and_an_exit_code(raised, code, said, monkeypatch, capsys):
  def main(given):
    raise raised

  monkeypatch.setattr(sys, "argv", ["command"])
  monkeypatch.setattr(command_line, "use_compilation_cache", lambda: None)
  with pytest.raises(SystemExit) as ended:
    launch(main, make_parser("compare", ""))
  assert ended.value.code == code
  assert capsys.readouterr().err.splitlines() == said


# Flags


def read(*arguments):
  flags = make_parser("probe", "")
  add_runs(flags)
  add_evaluation(flags)
  flags.add_argument("--reuse", action="store_true")
  return flags.read(arguments)


def test_flags_stand_anywhere_between_the_runs():
  for arguments in (["--seed=3", "a", "--reuse", "b"], ["a", "--seed", "3", "b", "--reuse"], ["a", "b", "--seed=3"]):
    given = read(*arguments)
    assert (given.runs, given.seed, given.episodes) == (["a", "b"], 3, None)
    assert given.reuse == ("--reuse" in arguments)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--seed=1", "a", "--seed=2"], "--seed is there 2 times: 1, 2$"),
    (["--episodes", "1", "--episodes=1"], "--episodes is there 2 times: 1, 1$"),
    (["--episode=1"], r"no flag --episode; did you mean --episodes\?$"),
    (["--config.seed=1"], "no flag --config.seed; --help lists all$"),
    (["--seed"], "argument --seed: expected one argument"),
    (["--seed=-1"], r"argument --seed: expected an integer from 0 to 2\^32 - 1, got '-1'"),
    (["--seed=4294967296"], r"argument --seed: expected an integer from 0 to 2\^32 - 1"),
    (["--episodes=few"], "argument --episodes: .*'few'"),
    (["-s"], "unrecognized arguments: -s"),
  ],
)
def test_a_wrong_command_line_is_one_line(arguments, said):
  with pytest.raises(ConfigurationError, match=rf"^command line: python -m experiments\.probe: {said}"):
    read(*arguments)


@pytest.mark.parametrize("name", ["macaw", "configs/macaw.py", "collect/any", "configs/collect/any.py"])
def test_a_configuration_of_the_project_is_found_from_any_folder(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  argument = ":point_robot" if "any" in name else ""
  config = make_config([f"{name}{argument}"], [], lambda config: None)
  assert "family" in config if argument else config.algorithm.name == "macaw"
  with pytest.raises(ConfigurationError, match=r"cheetah_vell: .* mean --config=collect/cheetah_vel\?"):
    make_config(["collect/cheetah_vell"], [], lambda config: None)


def test_a_switch_twice_says_the_same():
  assert read("--reuse", "a", "--reuse", "b").runs == ["a", "b"]


def test_a_field_and_a_configuration_that_are_there_twice_are_said_with_all_else():
  given = run.parser().read(
    ["--config=macaw", "--config.seed=1", "--config.training.step=4", "--config.seed", "2", "--debug_nans"]
  )
  assert given.debug_nans
  with pytest.raises(ConfigurationError) as raised:
    given_config(given, lambda config: None)
  assert [problem.partition(";")[0] for problem in raised.value.problems] == [
    "command line: --config.seed is there 2 times: 1, 2",
    "command line: the configuration has no field 'training.step'",
  ]
  with pytest.raises(ConfigurationError, match="--config is there 2 times: macaw, norml"):
    given_config(run.parser().read(["--config=macaw", "--config=norml"]), lambda config: None)
  with pytest.raises(ConfigurationError, match=r"experiments\.run: unrecognized arguments: runs/macaw"):
    run.parser().read(["--config=macaw", "runs/macaw"])


def test_a_subcommand_refuses_a_flag_that_is_there_twice_or_unknown():
  from experiments import data

  with pytest.raises(ConfigurationError, match=r"experiments\.data plot: --output is there 2 times: a\.png, b\.png"):
    data.parser().read(["plot", "data", "--output=a.png", "--output=b.png"])
  with pytest.raises(
    ConfigurationError, match=r"experiments\.data inspect: no flag --column; did you mean --columns\?"
  ):
    data.parser().read(["inspect", "data", "--column"])


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--steps=a"], "argument --steps: expected numbers from 0 up, as 0,1,2,5, got 'a'"),
    (["--steps=-1"], "argument --steps: expected numbers from 0 up"),
    (["--steps=1.5"], "argument --steps: expected numbers from 0 up"),
    (["--steps="], "argument --steps: expected numbers from 0 up"),
    (["--support=mine"], "argument --support: invalid choice: 'mine' .*other_policies.*all"),
    (["--support_size=0"], "argument --support_size: expected an integer of at least 1, got '0'"),
    (["--order=sorted"], "argument --order: invalid choice: 'sorted' .*uniform.*contiguous"),
    (["--engine=bullet"], "argument --engine: invalid choice: 'bullet' .*native.*mjx"),
  ],
)
def test_values_of_flags_are_checked(arguments, said):
  with pytest.raises(ConfigurationError, match=said):
    evaluate.parser().read(["runs/a", *arguments])


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_lists_all_that_it_takes_with_examples(command, capsys):
  flags = importlib.import_module(f"experiments.{command}").parser()
  with pytest.raises(SystemExit) as ended:
    flags.read(["--help"])
  said = capsys.readouterr()
  assert (ended.value.code, said.err) == (0, "")
  assert said.out.startswith(f"usage: python -m experiments.{command} ")
  described, _, listed = said.out.partition("options:")
  assert described.count(f"python -m experiments.{command} ") >= 2
  examples = described.partition("\n\n")[2]
  named = {word.partition("=")[0].strip("[") for word in examples.split() if word.startswith(("--", "[--"))}
  flags_of_configuration = {name for name in named if name.startswith("--config.")}
  if command != "data":  # whose flags are those of its subcommands
    assert named - flags_of_configuration <= {word for word in listed.split() if word.startswith("--")}
  assert not flags_of_configuration or "--config.<field>=<value>" in " ".join(listed.split())


def test_the_flags_of_each_command():
  names = {
    command: set(importlib.import_module(f"experiments.{command}").parser()._option_string_actions)
    for command in COMMANDS
  }
  names = {command: {name for name in of if name.startswith("--")} - {"--help"} for command, of in names.items()}
  evaluation = {"--episodes", "--seed"}
  assert names == {
    "collect": {"--config"},
    "compare": {"--picture", "--every_task"},
    "data": set(),
    "evaluate": evaluation
    | {"--run", "--steps", "--support", "--support_size", "--order", "--engine", "--checkpoint", "--dataset", "--reuse"}
    | {"--quality", "--own_episodes", "--picture", "--retrieval", "--rows_per_task", "--draw"},
    "probe": evaluation | {"--retrieval"},
    "regret": evaluation | {"--family"},
    "run": {"--config", "--continue_changed", "--debug_nans"},
    "study": {"--config", "--report_only"},
    "trajectories": evaluation | {"--picture", "--tasks"},
  }


def test_help_as_a_process_says_nothing_else():
  for module, usage in (("experiments.run", "usage: python -m experiments.run "), ("macaw_jax.cli", "usage: macaw <")):
    ended = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(usage)


@pytest.mark.parametrize("argument", ["--help", "-h", "help", ""])
def test_the_console_command_lists_its_commands(argument, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", list(filter(None, ["macaw", argument])))
  with pytest.raises(SystemExit) as ended:
    cli.main()
  said = capsys.readouterr()
  assert (ended.value.code or 0, said.err) == (0, "")
  assert all(f"  macaw {command} " in said.out for command in COMMANDS)


def test_the_console_command_names_itself_in_the_help_of_a_command(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["macaw", "compare", "--help"])
  with pytest.raises(SystemExit) as ended:
    cli.main()
  assert ended.value.code == 0
  assert capsys.readouterr().out.startswith("usage: macaw compare [-h]")


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["macaw", "runn"])
  with pytest.raises(SystemExit) as ended:
    cli.main()
  (line,) = capsys.readouterr().err.splitlines()
  assert ended.value.code == BAD_INPUT
  assert line.startswith("error: command line: macaw runn: expected one of run, evaluate, ")


IMPORTER = """
import importlib
import pkgutil

from absl import flags

own = {name: flags.DEFINE_string(name, None, "") for name in ("seed", "episodes", "config", "steps", "run", "picture")}
import experiments
import macaw_jax

for package in (experiments, macaw_jax):
  for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    importlib.import_module(module.name)
of_modules = flags.FLAGS.flags_by_module_dict()
print(sorted(name for name in of_modules if name.split(".")[0] in ("experiments", "macaw_jax")))
flags.FLAGS(["mine", "--seed=a", "--config=b"])
print(own["seed"].value, own["config"].value)
"""


def test_no_module_takes_the_name_of_a_flag_from_a_program_that_imports_it():
  assert {"run", "evaluate", "data"} <= {module.name for module in pkgutil.iter_modules(experiments.__path__)}
  ended = subprocess.run([sys.executable, "-c", IMPORTER], cwd=ROOT, capture_output=True, text=True)
  assert ended.stdout.splitlines()[-2:] == ["[]", "a b"], ended.stderr


# Pictures


def test_a_picture_that_can_be_drawn_or_is_not_wanted(tmp_path):
  check_picture(tmp_path / "shift.png")
  check_picture(None)


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("shift.pdf", "ends in .png"),
    ("shift", "ends in .png"),
    ("is.png", "found a folder"),
    ("a/b.png", "no folder .*a$"),
  ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(tmp_path, name, said):
  (tmp_path / "is.png").mkdir()
  with pytest.raises(ConfigurationError, match=rf"^--picture=.*{said}"):
    check_picture(tmp_path / name)
