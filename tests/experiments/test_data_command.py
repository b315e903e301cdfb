import argparse
import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from miniatures import write_point_robot

from experiments import command_line, data_import
from experiments import data as commands
from macaw_jax.data import reward_model
from macaw_jax.data.dataset import read_episodes, write_episodes
from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.manifest import DatasetError, read_manifest
from macaw_jax.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(data, tmp_path):
  """A copy of a dataset of five tasks, 200 transitions each, for the test to spoil."""
  shutil.copytree(data, tmp_path / "data")
  return tmp_path / "data"


class Ended(NamedTuple):
  """What a command has left."""

  returncode: int
  stdout: str
  stderr: str


@pytest.fixture
def command(capsys, monkeypatch):
  """Runs the command in this process."""
  monkeypatch.setattr(command_line, "use_compilation_cache", lambda: None)

  def run(*arguments):
    monkeypatch.setattr(sys, "argv", ["data", *map(str, arguments)])
    try:
      commands.start()
      code = 0
    except SystemExit as ended:
      code = ended.code or 0
    return Ended(code, *capsys.readouterr())

  return run


def change_reward(directory):
  """Writes NaN into the rewards of task 1, past its hash."""
  path = directory / "task_01.npz"
  with np.load(path) as file:
    arrays = dict(file)
  arrays["reward"][5] = np.nan
  np.savez(path, **arrays)


def test_a_list_has_a_line_for_each_dataset_and_names_the_broken(directory, tmp_path, capsys):
  assert commands.list_datasets([str(tmp_path)])
  title, line = capsys.readouterr().out.splitlines()
  assert title.split()[:2] == ["directory", "family"]
  assert line.split()[:8] == [str(directory), "point_robot", "3/2", "of", "5", "1,000", "50", "0.99"]
  shutil.copytree(directory, tmp_path / "other")
  (directory / "task_03.npz").unlink()
  assert not commands.list_datasets([str(tmp_path)])
  _, sound, broken = capsys.readouterr().out.splitlines()
  assert sound.startswith(str(tmp_path / "other"))
  assert broken.startswith(f"{directory}  BROKEN: ")
  assert "missing ['task_03.npz']" in broken


def test_a_list_of_nothing_is_an_error(tmp_path, monkeypatch):
  with pytest.raises(ConfigurationError, match="nowhere: no such directory"):
    commands.list_datasets([str(tmp_path / "nowhere")])
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigurationError, match="no dataset in starter_data, data"):
    commands.list_datasets([])


def test_an_inspection_has_a_line_for_each_task_and_the_probes(directory, capsys):
  commands.inspect_dataset(str(directory), columns=True)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == f"{directory}: point_robot, 5 tasks (3 train, 2 test)"
  start = next(index for index, line in enumerate(lines) if line.startswith("task  split"))
  rows = [line.split() for line in lines[start + 1 : start + 6]]
  assert [row[1] for row in rows] == ["train"] * 3 + ["test"] * 2
  manifest = read_manifest(directory)
  returns = read_episodes(directory, manifest, 4).reward.reshape(10, 20).sum(axis=1)
  assert rows[4][6:11] == [f"{value:.4g}" for value in np.quantile(returns, (0, 0.25, 0.5, 0.75, 1))]
  assert rows[4][11:13] == [f"{manifest.tasks[4].reference_returns[name]:.4g}" for name in ("random", "expert")]
  assert rows[4][-3:] == ["30", "30", "40"]  # episodes began at 80, 180, ... 980 of 1,000 steps
  assert sum(line.split()[:1] == ["entry"] for line in lines) == 1
  probes = lines[[line.split()[:1] == ["k"] for line in lines].index(True) + 1 :][:4]
  assert [int(line.split()[0]) for line in probes] == [1, 4, 16, 64]  # each task has 100 held out
  everything, _, chance = (float(cell) for cell in probes[2].split()[1:4])
  assert chance == 0.2
  assert everything > 0.8


def test_values_that_are_not_finite_are_inspected_and_not_probed(directory, capsys):
  change_reward(directory)
  commands.inspect_dataset(str(directory), columns=False)
  lines = capsys.readouterr().out.splitlines()
  problems = [line for line in lines if line.startswith("INVALID: ")]
  assert "expected SHA-256" in problems[0]
  assert "key 'reward': expected finite values, got nan in row 5" in problems[1]
  row = next(line for line in lines if line.startswith("1     train"))
  assert row.split()[-7:] == ["1", "20", "to", "920", "40", "30", "30"]
  assert lines[-1] == "how well tasks can be told apart: not measured: task 1: expected finite values"


def test_a_validation_names_all_that_is_wrong(directory, tmp_path, capsys):
  shutil.copytree(directory, tmp_path / "other")
  change_reward(directory)
  (directory / "task_04.npz").write_bytes(b"")
  assert not commands.validate_datasets([str(tmp_path / "other"), str(directory)])
  lines = capsys.readouterr().out.splitlines()
  files = [f"task_{task:02d}.npz" for task in range(5)]
  assert lines[:6] == [f"{tmp_path / 'other' / name}: OK" for name in ("manifest.json", *files)]
  assert [line for line in lines[6:] if line.endswith(": OK")] == [
    f"{directory / name}: OK" for name in ("manifest.json", "task_00.npz", "task_02.npz", "task_03.npz")
  ]
  assert sum(line.startswith(f"INVALID: {directory / 'task_01.npz'}: ") for line in lines) == 2
  assert sum(line.startswith(f"INVALID: {directory / 'task_04.npz'}: ") for line in lines) == 2
  assert commands.validate_datasets([str(tmp_path / "other")])


@pytest.mark.parametrize("parameters", ["vector", "scalar", "none", "few"])
def test_a_plot_is_a_picture(parameters, tmp_path):
  pytest.importorskip("matplotlib")
  from matplotlib.image import imread

  directory = tmp_path / "data"
  manifest = write_point_robot(directory, num_episodes=4)
  episodes = [read_episodes(directory, manifest, task) for task in range(5)]
  copies = 1 if parameters == "few" else 2
  tasks = [task for _ in range(copies) for task in manifest.tasks]
  changes = {"vector": None, "few": None, "scalar": lambda index: {"speed": 0.1 * index}, "none": lambda index: {}}
  if change := changes[parameters]:
    tasks = [dataclasses.replace(task, parameters=change(index)) for index, task in enumerate(tasks)]
  commands.plot_returns(tmp_path / "plot.png", dataclasses.replace(manifest, tasks=tuple(tasks)), episodes * copies)
  picture = imread(tmp_path / "plot.png")
  assert picture.shape[:2] == (600, 1080)
  assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


def test_a_plot_that_cannot_be_made_is_one_clear_error(directory, tmp_path, monkeypatch):
  with pytest.raises(ConfigurationError, match="nowhere is no directory"):
    commands.plot_dataset(str(directory), tmp_path / "nowhere" / "plot.png")
  pytest.importorskip("matplotlib")
  with pytest.raises(ConfigurationError, match=r"--output=.*plot\.nonsense: "):
    commands.plot_dataset(str(directory), tmp_path / "plot.nonsense")
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  with pytest.raises(ConfigurationError, match=r'a plot needs matplotlib: pip install "macaw_jax\[plot\]"'):
    commands.plot_dataset(str(directory), tmp_path / "plot.png")


def test_a_dataset_comes_back_from_an_export_bit_for_bit(command, directory, tmp_path):
  pytest.importorskip("h5py")
  manifest = read_manifest(directory)
  pairs = ",".join(
    f"{entry.reference_returns['random']!r}:{entry.reference_returns['expert']!r}" for entry in manifest.tasks
  )
  exported = command("convert", f"--source={directory}", "--export=d4rl_hdf5", f"--to={tmp_path / 'd4rl'}")
  assert exported.returncode == 0, exported.stderr
  splits = ("--family=point_robot", "--train_tasks=0-2", "--test_tasks=3,4", f"--reference_returns={pairs}")
  imported = command(
    "convert", f"--source={tmp_path / 'd4rl'}", "--from=d4rl_hdf5", f"--to={tmp_path / 'back'}", *splits
  )
  assert imported.returncode == 0, imported.stderr
  back = read_manifest(tmp_path / "back")
  assert back.tasks == manifest.tasks  # the files' hashes among them
  for name in ("family", "horizon", "discount", "train_tasks", "test_tasks"):
    assert getattr(back, name) == getattr(manifest, name)
  assert back.behaviour["source"] == "d4rl_hdf5"
  assert "note:" not in imported.stdout


def test_an_export_brings_its_reference_returns_back(command, directory, tmp_path):
  pytest.importorskip("h5py")
  manifest = read_manifest(directory)
  command("convert", f"--source={directory}", "--export=minari", f"--to={tmp_path / 'minari'}")
  splits = ("--family=point_robot", "--train_tasks=0-2", "--test_tasks=3,4")
  imported = command(
    "convert", f"--source={tmp_path / 'minari'}", "--from=minari", f"--to={tmp_path / 'back'}", *splits
  )
  assert imported.returncode == 0, imported.stderr
  back = read_manifest(tmp_path / "back")
  assert (back.tasks, back.references) == (manifest.tasks, manifest.references)
  assert "score 0: the manifest's random return; score 100: the manifest's expert return" in imported.stdout


def test_starter_data_agree_with_their_family_after_an_export_too(command, tmp_path):
  pytest.importorskip("h5py")
  starter = ROOT / "starter_data" / "cheetah_dir"
  command("convert", f"--source={starter}", "--export=d4rl_hdf5", f"--to={tmp_path / 'd4rl'}")
  splits = ("--family=cheetah_dir", "--train_tasks=0,1", "--test_tasks=0,1")
  imported = command(
    "convert", f"--source={tmp_path / 'd4rl'}", "--from=d4rl_hdf5", f"--to={tmp_path / 'back'}", *splits
  )
  assert imported.returncode == 0, imported.stderr
  lines = imported.stdout.splitlines()
  start = lines.index("agreement with family cheetah_dir")
  assert [line.split()[-1] for line in lines[start + 2 : start + 8]] == ["agrees"] * 6
  assert "score 0: uniformly random actions; score 100: the agent that collected the data" in imported.stdout
  assert command("validate", "--agreement", starter, tmp_path / "back").returncode == 0


def test_an_import_that_contradicts_its_family_is_refused_and_one_of_another_name_is_not(command, directory, tmp_path):
  pytest.importorskip("h5py")
  manifest = read_manifest(directory)
  episodes = [read_episodes(directory, manifest, task) for task in range(5)]
  ended = [of_task._replace(terminal=np.ones_like(of_task.terminal)) for of_task in episodes]
  FORMATS["d4rl_hdf5"].write(tmp_path / "d4rl", ended, manifest)
  splits = ("--train_tasks=0-2", "--test_tasks=3,4")
  source = ("convert", f"--source={tmp_path / 'd4rl'}", "--from=d4rl_hdf5")
  refused = command(*source, f"--to={tmp_path / 'back'}", "--family=point_robot", *splits)
  assert refused.returncode == 2
  (line,) = refused.stderr.strip().splitlines()
  assert line.startswith(
    "error: --family=point_robot: the data are not of this family: ends: expected no terminal: a time limit alone ends "
    "an episode, found 50 of 50 episodes end in a terminal. Data of another environment get a name of their own"
  )
  assert not (tmp_path / "back").exists()
  taken = command(*source, f"--to={tmp_path / 'back'}", "--family=ending_point_robot", *splits)
  assert taken.returncode == 0, taken.stderr
  assert "nothing can be trained on it: no task family is called 'ending_point_robot'" in taken.stdout


def test_a_dataset_is_compared_with_its_family_where_that_is_asked(command, directory):
  assert command("validate", directory).stdout.count("\n") == 6
  whole = command("validate", "--agreement", directory)
  assert whole.returncode == 0
  assert whole.stdout.count(" agrees") == 6
  manifest = read_manifest(directory)
  episodes = [read_episodes(directory, manifest, task) for task in range(5)]
  other = directory.parent / "other"
  write_episodes(other, [each._replace(reward=2 * each.reward) for each in episodes], manifest)
  wrong = command("validate", "--agreement", other, directory)
  assert wrong.returncode == 2
  assert (wrong.stdout.count(" contradicts"), wrong.stdout.count(" agrees")) == (1, 11)
  unknown = directory.parent / "unknown"
  write_episodes(unknown, episodes, dataclasses.replace(manifest, family="labyrinth"))
  assert f"{unknown}: no task family is called 'labyrinth'" in command("validate", "--agreement", unknown).stderr


def test_tasks_without_a_scale_are_said_on_import(command, directory, tmp_path):
  pytest.importorskip("h5py")
  command("convert", f"--source={directory}", "--export=d4rl_hdf5", f"--to={tmp_path / 'd4rl'}")
  splits = (
    "--family=point_robot",
    "--train_tasks=0-2",
    "--test_tasks=3,4",
    "--reference_returns=-9:-1,-9:-1,-9:-1,-5:-5,-9:-1",
  )
  imported = command(
    "convert", f"--source={tmp_path / 'd4rl'}", "--from=d4rl_hdf5", f"--to={tmp_path / 'back'}", *splits
  )
  assert "score 0: the random return given on import; score 100: the expert return given on import" in imported.stdout
  (line,) = (line for line in imported.stdout.splitlines() if line.startswith("WARNING"))
  assert line == "WARNING: 1 of 5 tasks have no score, because their random and expert returns are equal: task 3"


def test_supports_of_other_policies_are_made(command, directory):
  made = command("other_policies", directory, "--episodes=8")
  assert made.returncode == 0, made.stderr
  beside = Path(f"{directory}_other_policies")
  assert made.stdout.strip() == (
    f"wrote {beside}: 8 episodes of other tasks in each of 5 tasks, with rewards of family point_robot"
  )
  manifest = read_manifest(beside)
  assert [entry.num_episodes for entry in manifest.tasks] == [8] * 5
  assert command("validate", beside, "--agreement").returncode == 0
  for wrong, message in (
    ([directory], f"error: {beside}: exists already; nothing is overwritten. Remove it first."),
    ([beside, "--episodes=0"], "error: --episodes=0: expected 1 or more"),
    ([directory.parent / "none"], f"error: {directory.parent / 'none' / 'manifest.json'}: no dataset here."),
    (
      [beside, "--episodes=99"],
      f"error: {beside}: task 1: expected 25 episodes or more to give to another task, got 8",
    ),
  ):
    result = command("other_policies", *wrong)
    assert result.returncode == 2
    assert result.stderr.strip().startswith(message)


@pytest.fixture
def few_steps(monkeypatch):
  """A fit that is not worth much, for what does not depend on it."""
  for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
    monkeypatch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 20})


@pytest.mark.usefixtures("few_steps")
def test_supports_are_explained_by_training_tasks(command, directory, tmp_path):
  command("other_policies", directory)
  result = command("explain", directory, "--support_size=50", "--supports=2", f"--picture={tmp_path / 'explained.png'}")
  assert (result.returncode, result.stderr) == (0, "")
  lines = result.stdout.splitlines()
  places = [[name for name in ("own", "other policies", "random") if line.startswith(name)] for line in lines]
  assert [name for found in places for name in found] == ["own", "other policies", "random"]
  assert "2 supports of 50 transitions of each test task" in result.stdout
  assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_explained_is_one_clear_error(command, directory, tmp_path):
  manifest = read_manifest(directory)
  tasks = [dataclasses.replace(task, parameters={"a": [1.0, 2.0, 3.0]}) for task in manifest.tasks]
  many = dataclasses.replace(manifest, tasks=tuple(tasks))
  one = dataclasses.replace(manifest, train_tasks=(0,), test_tasks=(1,))
  faults = {
    "expected two training tasks or more and a test task": (one, ()),
    "--picture: expected tasks of one or two numbers": (many, (f"--picture={tmp_path / 'a.png'}",)),
    "--support_size=999: ": (manifest, ("--support_size=999",)),
    "--picture=b.pdf: expected a file that ends in .png": (manifest, ("--picture=b.pdf",)),
  }
  for number, (message, (changed, flags)) in enumerate(faults.items()):
    to = tmp_path / str(number)
    write_episodes(to, [read_episodes(directory, manifest, task) for task in range(5)], changed)
    result = command("explain", to, *flags)
    assert result.returncode == 2
    assert message in result.stderr


def import_request(family):
  return data_import.ImportRequest(family, (0, 1, 2), (3, 4), ReadOptions(), None)


@pytest.fixture
def exported(directory, tmp_path):
  pytest.importorskip("h5py")
  commands.export_dataset(directory, "macaw_hdf5", tmp_path / "exported")
  return tmp_path / "exported"


def test_a_family_of_other_sizes_is_an_error_and_nothing_is_written(exported, tmp_path):
  message = r"--family=cheetah_dir: its \(observation, action\) sizes are \(20, 6\), those of the source \(2, 2\)"
  with pytest.raises(DatasetError, match=message):
    commands.import_dataset([exported], "macaw_hdf5", tmp_path / "back", import_request("cheetah_dir"))
  assert not (tmp_path / "back").exists()


def test_a_dataset_that_nothing_can_be_trained_on_says_so(exported, tmp_path, capsys):
  import h5py

  commands.import_dataset([exported], "macaw_hdf5", tmp_path / "a", import_request("labyrinth"))
  assert "note: nothing can be trained on it: no task family is called 'labyrinth'\n" in capsys.readouterr().out
  for path in exported.glob("*.hdf5"):
    with h5py.File(path, "a") as file:
      file.attrs.clear()  # parameters among them
  commands.import_dataset([exported], "macaw_hdf5", tmp_path / "b", import_request("point_robot"))
  assert "note: nothing can be trained on it: the manifest's task 0 has the parameters {}" in capsys.readouterr().out


IMPORT = ("convert", "--source=a", "--to=b", "--from=pickle", "--family=c")


@pytest.mark.parametrize(
  ("arguments", "names"),
  [
    ([], "command"),
    (["lsit"], "list.*inspect.*validate.*plot.*convert"),
    (["inspect"], "inspect: .*directory"),
    (["inspect", "a", "b"], "b"),
    (["validate"], "validate: .*directories"),
    (["list", "--columns"], "--columns"),
    (["inspect", "a", "--column"], "--column"),
    (["plot", "a", "--columns", "--output=b"], "--columns"),
    (["plot", "a"], "plot: .*--output"),
    (["validate", "a", "--agree"], "--agree"),
    (["explain", "a", "--supports=0"], "--supports: .*at least 1"),
    (["other_policies"], "other_policies: .*directory"),
    (["other_policies", "a", "--episodes=x"], "--episodes"),
    (["convert", "--to=b", "--from=minari"], "--source"),
    (["convert", "--source=a", "--from=minari"], "--to"),
    (["convert", "--source=a", "--to=b"], "--from --export"),
    (["convert", "--source=a", "--to=b", "--from=minari", "--export=d4rl_hdf5"], "--export: not allowed with .*--from"),
    (["convert", "--source=a", "--to=b", "--from=csv"], "--from: .*csv.*macaw_hdf5"),
    (["convert", "--source=a", "--to=/", "--from=minari"], "--to=/: exists already"),
    (["convert", "--source=a", "--to=b", "--from=minari"], "--family"),
    (["convert", "--source=a", "--to=b", "--from=minari", "--family=c"], "--train_tasks"),
    (["convert", "--source=a", "--to=b", "--from=minari", "--horizon=x"], "--horizon"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=5-3"], "--test_tasks: .*'5-3'"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=some.json"], "--test_tasks: .* or a file of them, got 'some.json'"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=1", "--parameter=goal"], "--parameter belongs to --tasks_file"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=1", "--episode_lengths=a"], "--episode_lengths: .*, got 'a'"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=1", "--horizon=0"], "horizon=0: expected at least 1"),
    ([*IMPORT, "--train_tasks=0", "--test_tasks=1", "--action_bound=0"], "action_bound=0.0: expected above 0"),
    ([*IMPORT, "--autoreset=sometimes"], "--autoreset: .*sometimes.*next_step"),
    ([*IMPORT, "--family=point_robot"], "--family is there 2 times"),
    (["plot", "a", "--output=b", "--output", "c"], "--output is there 2 times: b, c"),
    (["convert", "--source=a", "--to=b", "--export=d4rl_hdf5", "--family=c"], "--family belongs to --from"),
    (["convert", "--source", "a", "c", "--to=b", "--export=d4rl_hdf5"], "--source: expected one dataset"),
    (["convert", "--source=a", "--to=b", "--export=pickle"], "--export: .*pickle.*d4rl_hdf5"),
  ],
)
def test_a_wrong_command_line_names_what_is_wrong(arguments, names):
  with pytest.raises((ConfigurationError, DatasetError), match=names):
    commands.main(commands.parser().read(arguments))


def test_task_indices():
  assert data_import.task_indices("test_tasks", "0,3-5,2") == (0, 3, 4, 5, 2)
  for text in ("a", "1-", "-1", "5-3", "0,1.5", "", ",", "0,"):
    with pytest.raises(ConfigurationError, match="--test_tasks: expected task indices such as 0,3-5"):
      data_import.task_indices("test_tasks", text)


def test_reference_returns():
  assert data_import.reference_pairs("-41.5:1217,1e2:-3") == [
    {"random": -41.5, "expert": 1217.0},
    {"random": 100.0, "expert": -3.0},
  ]
  for text in ("", "1", "1:2:3", "1:2,a:b"):
    with pytest.raises(argparse.ArgumentTypeError, match="expected <random>:<expert> for each task"):
      data_import.reference_pairs(text)


def test_no_command_ends_in_one_line(command):
  result = command()
  assert result.returncode == 2
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: command line: python -m experiments.data: ")


def test_help_has_the_usage_and_every_flag(command):
  assert "python -m experiments.data inspect <directory>" in command("--help").stdout
  output = command("convert", "--help").stdout
  for flag in ("source", "from", "export", "to", *data_import.IMPORT_FLAGS):
    assert f"--{flag} " in output


def test_a_broken_dataset_ends_in_exit_code_2(command, directory):
  assert command("validate", directory).returncode == 0
  (directory / "task_00.npz").write_bytes(b"")
  for name, *more in (["validate"], ["inspect"], ["plot", f"--output={directory / 'plot.png'}"]):
    result = command(name, directory, *more)
    assert result.returncode == 2, name
    assert str(directory / "task_00.npz") in result.stdout + result.stderr
  (directory / "task_00.npz").unlink()
  assert command("list", directory).returncode == 2


def test_a_manifest_of_another_digest_is_inspected(directory, capsys):
  path = directory / "manifest.json"
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
  with pytest.raises(DatasetError, match="digest"):
    read_manifest(directory)
  commands.inspect_dataset(str(directory), columns=False)
  assert "INVALID: " in capsys.readouterr().out
  path.unlink()
  with pytest.raises(DatasetError, match="no dataset here"):
    commands.inspect_dataset(str(directory), columns=False)


def test_a_reader_that_has_read_enough_is_no_fault(directory):
  arguments = [sys.executable, "-m", "experiments.data", "validate", *[str(directory)] * 500]
  with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
  assert process.returncode == 0
  assert "Error" not in errors
