"""Whole runs of the entry points on a small dataset."""

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from miniature_run import interrupt_at, make_miniature, write_point_robot

from experiments import training
from experiments.configuration import ConfigurationError
from experiments.evaluate import evaluate_run
from experiments.experiment import load_experiment, make_algorithm
from experiments.interruption import Interrupted, Interruption
from experiments.run import run
from experiments.run_directory import load_config, write_json
from experiments.run_results import draw, next_command
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.evaluation.protocols import Evaluation
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.metrics import read_rows
from macaw_jax.training.population import no_skips

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def finished(point_robot_directory, tmp_path_factory, compiled_once):
  """The configuration of a run that is finished, and what the run said."""
  config = make_miniature(point_robot_directory, tmp_path_factory.mktemp("finished") / "run")
  with contextlib.redirect_stdout(io.StringIO()) as shown:
    run(config)
  return config, shown.getvalue()


def copied(finished, tmp_path):
  """The finished run in another place, for a test to change."""
  config = finished[0].copy_and_resolve_references()
  config.output_directory = str(shutil.copytree(config.output_directory, tmp_path / "run"))
  write_json(tmp_path / "run" / "config.json", config.to_dict())
  return config


def newest_checkpoint(config):
  experiment = load_experiment(config)
  state = initialise(make_algorithm(config, experiment.problem), jax.random.key(7))
  with Checkpoints(Path(config.output_directory) / "checkpoints") as checkpoints:
    return checkpoints.restore(Checkpoint(state, experiment.statistics, no_skips()))[0]


def without_times(rows):
  return [{name: row[name] for name in row if name not in ("wall_time", "steps_per_second")} for row in rows]


def test_what_a_run_says(finished):
  config, shown = finished
  for said in ("loading", "compiling", "evaluat", "step 40/40", "protocol offline", "test mean of 2 tasks"):
    assert said in shown
  assert shown.endswith("packages and source files of the last start\n")
  assert next_command(config).endswith(f"python -m experiments.evaluate --run={config.output_directory}")


def test_what_a_run_writes(finished):
  config, _ = finished
  directory = Path(config.output_directory)
  names = {path.name for path in directory.iterdir()}
  assert names >= {"config.json", "starts.json", "metrics.jsonl", "results.json", "checkpoints", "tensorboard"}
  assert json.loads((directory / "config.json").read_text()) == json.loads(json.dumps(config.to_dict()))
  (start,) = json.loads((directory / "starts.json").read_text())
  assert start["versions"]["jax"] == jax.__version__

  rows = read_rows(directory / "metrics.jsonl")
  assert [row["step"] for row in rows if "value_loss" in row] == [10, 20, 30, 40]
  assert [row["step"] for row in rows if "test/return_after" in row] == [0, 20, 40]

  results = json.loads((directory / "results.json").read_text())
  evaluated = [(row["split"], row["task_index"]) for row in results["rows"]]
  assert evaluated == [("test", 3), ("test", 4), ("train", 0), ("train", 2)]
  assert {row["protocol"] for row in results["rows"]} == {"offline"}
  mean = np.mean([row["return_after"] for row in results["rows"][:2]])
  np.testing.assert_allclose(results["mean"]["test"]["return_after"], mean)
  np.testing.assert_allclose(rows[-1]["test/return_after"], mean)


def test_pictures_are_drawn_where_they_can_be(finished):
  pytest.importorskip("matplotlib")
  pytest.importorskip("PIL")
  directory = Path(finished[0].output_directory)
  assert (directory / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
  assert (directory / "adapted_rollout.gif").read_bytes().startswith(b"GIF89a")


def test_a_machine_without_packages_for_pictures(finished, tmp_path, monkeypatch, capsys):
  config = copied(finished, tmp_path)
  for name in ("matplotlib.figure", "PIL.Image", "PIL.ImageDraw"):
    monkeypatch.setitem(sys.modules, name, None)  # what an import of a missing package meets
  returns = np.zeros((2, 2))
  draw(config, load_experiment(config), tmp_path / "run", Evaluation(returns, returns, np.zeros((2, 21, 2))))
  said = capsys.readouterr().out.splitlines()
  assert said[0].startswith("no learning curve: matplotlib is not installed")
  assert said[1].startswith("no picture of an episode: A GIF needs pillow")
  assert len(said) == 2


@pytest.mark.parametrize("step", [30, 20])  # between two evaluations; before one that is due
def test_the_same_command_continues_an_interrupted_run(finished, miniature, monkeypatch, capsys, step):
  interruption = Interruption()
  with monkeypatch.context() as patch:
    patch.setattr(training, "ProgressLine", interrupt_at(step, interruption))
    with pytest.raises(Interrupted):
      run(miniature, interruption)
  assert capsys.readouterr().out.endswith(f"the same command continues from update {step}\n")
  assert int(newest_checkpoint(miniature).state.step) == step
  run(miniature)
  assert (f"evaluating update {step}, before which" in capsys.readouterr().out) == (step == 20)
  jax.tree.map(np.testing.assert_array_equal, newest_checkpoint(miniature), newest_checkpoint(finished[0]))
  directory, uninterrupted = Path(miniature.output_directory), Path(finished[0].output_directory)
  rows, expected = (read_rows(place / "metrics.jsonl") for place in (directory, uninterrupted))
  assert without_times(rows) == without_times(expected)
  assert len(json.loads((directory / "starts.json").read_text())) == 2


def test_the_update_is_traced_once_in_a_run(miniature, monkeypatch):
  make_macaw, traces = ALGORITHMS["macaw"], []

  @functools.wraps(make_macaw)
  def counted(*arguments, **hyperparameters):
    algorithm = make_macaw(*arguments, **hyperparameters)

    def update(*inputs):
      traces.append(inputs)
      return algorithm.update(*inputs)

    return algorithm._replace(update=update)

  monkeypatch.setitem(ALGORITHMS, "macaw", counted)
  run(miniature)  # four compiled calls, three evaluations, two checkpoints
  assert len(traces) == 1


def test_evaluation_after_several_numbers_of_steps(finished, tmp_path, capsys):
  copied(finished, tmp_path)
  evaluate_run(tmp_path / "run", steps=["0", "2"], episodes=3, seed=5)
  assert "mean score" in capsys.readouterr().out
  evaluation = json.loads((tmp_path / "run" / "evaluation_offline.json").read_text())
  assert evaluation["step"] == 40
  found = [(row["adaptation_steps"], row["task_index"], row["support_size"]) for row in evaluation["rows"]]
  assert found == [(0, 3, 0), (0, 4, 0), (2, 3, 32), (2, 4, 32)]
  assert {row["episodes"] for row in evaluation["rows"]} == {3}


@pytest.mark.slow
def test_both_engines_evaluate_alike(tmp_path):
  config = make_miniature(REPOSITORY / "starter_data" / "cheetah_dir", tmp_path / "run")
  run(config)
  returns = []
  for engine in ("native", "mjx"):
    evaluate_run(tmp_path / "run", steps=["0"], episodes=2, seed=0, engine=engine)
    rows = json.loads((tmp_path / "run" / "evaluation_offline.json").read_text())["rows"]
    returns.append([row["return"] for row in rows])
  # Nearly untrained, it twitches where it stands: nothing that contacts could blow up.
  np.testing.assert_allclose(*returns, atol=3.0)
  assert returns[0] != returns[1]


def test_a_run_of_other_settings_is_not_continued(finished, tmp_path):
  config = copied(finished, tmp_path)
  config.algorithm.value_learning_rate = 0.5
  with pytest.raises(ConfigurationError, match=r"config.algorithm.value_learning_rate = 0.0003, this one has 0.5"):
    run(config)


def test_a_run_does_not_go_backwards(finished, tmp_path):
  config = copied(finished, tmp_path)
  config.training.steps = 20
  with pytest.raises(ConfigurationError, match=r"config.training.steps = 20: this run has had 40 updates already"):
    run(config)
  assert load_config(tmp_path / "run").training.steps == 40


def test_a_run_on_changed_data_is_not_continued(miniature, tmp_path):
  data = tmp_path / "data"
  write_point_robot(data)
  config = miniature.copy_and_resolve_references()
  config.dataset.directory, config.training.steps = str(data), 20
  run(config)
  shutil.rmtree(data)
  write_point_robot(data, created="2026-01-01T00:00:00+00:00")  # The same data, made another day.
  config.training.steps = 40
  run(config)
  shutil.rmtree(data)
  write_point_robot(data, num_episodes=11)
  config.training.steps = 60
  with pytest.raises(ConfigurationError, match=r"config.dataset.*: the data have changed since this run began"):
    run(config)


def test_a_directory_of_something_else_is_left_alone(miniature, tmp_path):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "thesis.tex").write_text("")
  with pytest.raises(ConfigurationError, match=r"holds files, and no run"):
    run(miniature)


@pytest.mark.parametrize("steps", [["a"], ["-1"], ["1.5"], []])
def test_wrong_numbers_of_steps(miniature, steps, tmp_path):
  miniature.training.steps = 20
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text(json.dumps(miniature.to_dict()))
  with pytest.raises(ConfigurationError, match=r"--steps=.*: expected numbers from 0 up"):
    evaluate_run(tmp_path / "run", steps=steps, episodes=None, seed=0)


def test_evaluation_needs_a_run_with_a_checkpoint_and_enough_data(miniature, tmp_path):
  with pytest.raises(ConfigurationError, match=r"no run there"):
    evaluate_run(tmp_path / "nothing", steps=None, episodes=None, seed=0)
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text(json.dumps(miniature.to_dict()))
  with pytest.raises(ConfigurationError, match=r"the run has no checkpoint yet"):
    evaluate_run(tmp_path / "run", steps=None, episodes=None, seed=0)
  with pytest.raises(ConfigurationError, match=r"support of 320 transitions: task 3 \(test\) has 200"):
    evaluate_run(tmp_path / "run", steps=["20"], episodes=None, seed=0)


def test_evaluation_of_a_run_from_before_there_were_populations(miniature, tmp_path):
  config = miniature.to_dict()
  del config["population"], config["devices"]
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text(json.dumps(config))
  with pytest.raises(ConfigurationError, match=r"run: config.population.seeds is missing; expected an integer"):
    evaluate_run(tmp_path / "run", steps=None, episodes=None, seed=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # reads that the refusal left open
def test_evaluation_of_a_checkpoint_with_other_parameters(finished, tmp_path):
  config = copied(finished, tmp_path)
  config.algorithm.hidden_sizes = (16, 8)
  write_json(tmp_path / "run" / "config.json", config.to_dict())
  with pytest.raises(ConfigurationError, match=r"run: its checkpoint does not fit its configuration: .*shape"):
    evaluate_run(tmp_path / "run", steps=None, episodes=None, seed=0)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "error: no configuration; expected --config=configs/<name>.py"),
    (["--config=configs/none.py"], "error: --config=configs/none.py: no such file"),
    (["--config=configs/macaw.py", "--config.sede=1"], "error: command line: the configuration has no field 'sede'"),
    (["--config=configs/macaw.py", "--config.seed=one"], "error: command line: flag --config.seed=one:"),
    (["--config=configs/macaw.py", "extra"], "error: command line: unexpected argument 'extra'"),
    (
      ["--config=configs/macaw.py", "--config.training.query_size=-5"],
      "error: config.training.query_size = -5: expected",
    ),
  ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, message):
  process = subprocess.run(
    [sys.executable, "-m", "experiments.run", *arguments],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  assert process.returncode == 2
  assert process.stderr.startswith(message)
  assert process.stderr.count("\n") == 1
  assert process.stdout == ""
