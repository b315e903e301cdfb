"""Whole runs of an agent that collects its own data."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from absl.testing import flagsaver
from miniature_run import interrupt_at

from configs import pearl
from experiments import compare, online_report, online_run
from experiments.command_line import TrainingError
from experiments.configuration import ConfigurationError
from experiments.evaluate import evaluate_run
from experiments.interruption import Interrupted, Interruption
from experiments.online_experiment import make_online_experiment
from experiments.online_results import results_table
from experiments.online_run import run_online
from experiments.run import check
from experiments.run_directory import write_json
from macaw_jax import envs
from macaw_jax.envs import mjx_engine
from macaw_jax.training.metrics import read_rows

pytestmark = pytest.mark.usefixtures("compiled_once")


def make_miniature(output, family="point_robot_sparse"):
  """A configuration of four iterations of ten updates, to be run in a directory."""
  config = pearl.get_config(family)
  config.output_directory = str(output)
  config.collection.update(
    {
      "initial_episodes": 1,
      "tasks_per_iteration": 3,
      "prior_episodes": 1,
      "posterior_episodes": 1,
      "extra_episodes": 1,
    }
  )
  config.training.update(
    {
      "steps": 40,
      "updates_per_iteration": 10,
      "tasks_per_update": 3,
      "support_size": 8,
      "query_size": 8,
      "evaluate_every": 20,
      "checkpoint_every": 20,
    }
  )
  config.algorithm.update({"hidden_sizes": (8,), "encoder_hidden_sizes": (8,), "latent_size": 2})
  config.evaluation.update({"repetitions": 2, "exploration_episodes": 1, "adapted_episodes": 2, "train_tasks": 2})
  return config.lock()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compiled_once):
  """The configuration of a run that is finished, and what the run said."""
  config = make_miniature(tmp_path_factory.mktemp("finished") / "run")
  with contextlib.redirect_stdout(io.StringIO()) as shown:
    run_online(config)
  return config, shown.getvalue()


def copied(finished, place):
  """The finished run in another place, for a test to change."""
  config = finished[0].copy_and_resolve_references()
  config.output_directory = str(shutil.copytree(config.output_directory, place))
  write_json(place / "config.json", config.to_dict())
  return config


def without_times(rows):
  return [{name: row[name] for name in row if name not in ("wall_time", "steps_per_second")} for row in rows]


def arrays(directory):
  """The record of the newest checkpoint says each leaf's digest."""
  (newest,) = Path(directory, "checkpoints").iterdir()
  return newest.name, json.loads((newest / "checkpoint.json").read_text())["leaves"]


def test_what_a_run_says_and_writes(finished):
  config, shown = finished
  for said in ("collecting the first episodes", "compiling", "step 40/40", "protocol online", "test mean of 20 tasks"):
    assert said in shown
  directory = Path(config.output_directory)
  names = {path.name for path in directory.iterdir()}
  assert names >= {"config.json", "starts.json", "metrics.jsonl", "results.json", "checkpoints", "tensorboard"}

  rows = read_rows(directory / "metrics.jsonl")
  trained = [row for row in rows if "critic_loss" in row]
  assert [row["step"] for row in trained] == [10, 20, 30, 40]
  # 80 episodes first, then three of each of three tasks; 20 steps each.
  assert [row["environment_steps"] for row in trained] == [1600 + 180 * count for count in range(1, 5)]
  assert all(row["collect/return_posterior"] >= 0 for row in trained)  # The sparse reward, which is never negative.
  assert [row["step"] for row in rows if "test/return_episode_3" in row] == [0, 20, 40]

  results = json.loads((directory / "results.json").read_text())
  assert len(results["rows"]) == 22
  for row in results["rows"]:
    returns = row["returns_by_episodes"]
    assert len(returns) == 3
    assert (row["return_before"], row["return_after"]) == pytest.approx((returns[0], returns[2]))
    assert row["protocol"] == "online"
  evaluated = [(row["split"], row["task_index"]) for row in results["rows"]]
  assert evaluated == [("test", task) for task in range(80, 100)] + [("train", 0), ("train", 79)]


@pytest.mark.parametrize("step", [10, 20])  # between two evaluations; before one that is due
def test_the_same_command_continues_an_interrupted_run(finished, tmp_path, monkeypatch, capsys, step):
  config, interruption = make_miniature(tmp_path / "run"), Interruption()
  with monkeypatch.context() as patch:
    patch.setattr(online_run, "ProgressLine", interrupt_at(step, interruption))
    with pytest.raises(Interrupted):
      run_online(config, interruption)
  assert capsys.readouterr().out.endswith(f"the same command continues from update {step}\n")
  run_online(config)
  assert arrays(tmp_path / "run") == arrays(finished[0].output_directory)
  rows, expected = (
    read_rows(Path(place) / "metrics.jsonl") for place in (tmp_path / "run", finished[0].output_directory)
  )
  assert without_times(rows) == without_times(expected)


def test_another_seed_is_another_run(finished, tmp_path):
  config = make_miniature(tmp_path / "run")
  config.seed = 1
  run_online(config)
  ours, theirs = arrays(tmp_path / "run")[1], arrays(finished[0].output_directory)[1]
  differ = {path for path in ours if ours[path] != theirs[path]}
  assert any("experience" in path for path in differ)
  assert any("params" in path for path in differ)


def test_a_finished_run_is_evaluated_again(finished, tmp_path, capsys):
  config = copied(finished, tmp_path / "run")
  before = read_rows(tmp_path / "run" / "metrics.jsonl")
  run_online(config)
  assert "protocol online" in capsys.readouterr().out
  assert read_rows(tmp_path / "run" / "metrics.jsonl") == before
  of_runs = [
    json.loads((Path(place) / "results.json").read_text())["rows"]
    for place in (tmp_path / "run", finished[0].output_directory)
  ]
  assert of_runs[0] == of_runs[1]


def test_what_decides_the_size_of_memories_stays(finished, tmp_path):
  config = copied(finished, tmp_path / "run").unlock()
  config.training.steps, config.training.updates_per_iteration, config.collection.prior_episodes = 80, 20, 5
  with pytest.raises(ConfigurationError) as raised:
    run_online(config, continue_changed=True)
  said = "which decides how much its replay holds; choose another --config.output_directory"
  assert raised.value.problems == (
    f"config.collection.prior_episodes = 5: this run began with 1, {said}",
    f"config.training.steps = 80: this run began with 40, {said}",
    f"config.training.updates_per_iteration = 20: this run began with 10, {said}",
  )


def test_a_finished_run_without_checkpoints_is_kept(finished, tmp_path):
  config = copied(finished, tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoints")
  with pytest.raises(ConfigurationError, match=r"run has results.json, but no checkpoint to go on from"):
    run_online(config)
  assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == len(
    read_rows(Path(finished[0].output_directory) / "metrics.jsonl")
  )


def test_numbers_that_are_not_finite_end_a_run(tmp_path):
  config = make_miniature(tmp_path / "run", "point_robot")
  config.algorithm.agent_learning_rate = 1e30
  with pytest.raises(TrainingError, match=r"not every metric is finite after update 10 \(.*critic_loss"):
    run_online(config)


def problems_of(config):
  with pytest.raises(ConfigurationError) as raised:
    check(config)
  return raised.value.problems


def test_all_that_is_wrong_with_a_configuration_is_said_at_once(tmp_path):
  config = make_miniature(tmp_path / "run")
  config.unlock()
  config.collection.tasks_per_iteration = 81
  config.collection.critic_reward = "cheetah_dir"
  config.collection.prior_episodes = 0
  config.collection.ignored_observations = (2,)
  config.collection.discount = 1.5
  config.collection.episodes = 3
  config.training.steps = 45
  config.evaluation.train_tasks = 81
  config.algorithm.kl_weight = -1.0
  del config.training.query_size
  problems = "\n".join(problems_of(config))
  for expected in (
    "config.collection.tasks_per_iteration = 81: family 'point_robot_sparse' has 80 training tasks",
    "config.collection.critic_reward = 'cheetah_dir': its reward cannot be computed",
    "config.collection.prior_episodes = 0: expected an integer of at least 1",
    "config.collection.ignored_observations = (2,): family 'point_robot_sparse' has observations of 2",
    "config.collection.discount = 1.5: expected a number above 0 and at most 1",
    "config.collection.episodes is unknown",
    "config.training.steps = 45 is not a multiple of config.training.updates_per_iteration = 10",
    "config.evaluation.train_tasks = 81: family 'point_robot_sparse' has 80 training tasks",
    "config.algorithm.kl_weight = -1.0: must not be negative",
    "config.training.query_size is missing; expected an integer of at least 1",
  ):
    assert expected in problems
  assert len(problems.splitlines()) == 10
  assert not (tmp_path / "run").exists()


def test_the_engine_of_the_configuration_collects(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(mjx_engine, "on_mjx", lambda family: asked.append(family.name) or envs.make("point_robot"))
  config = make_miniature(tmp_path / "run", "cheetah_dir").unlock()
  make_online_experiment(config)
  assert asked == []
  config.evaluation.engine = "mjx"
  make_online_experiment(config)
  assert asked == ["cheetah_dir"]


def test_an_algorithm_that_needs_whole_episodes_cannot_collect(tmp_path):
  config = make_miniature(tmp_path / "run")
  config.algorithm.name = "macaw"
  assert any(line == "config.algorithm.name = 'macaw': expected one of pearl" for line in problems_of(config))


def test_commands_for_runs_on_datasets_say_so(finished):
  with pytest.raises(ConfigurationError, match=r"collects its own data; python -m experiments.online_report reads "):
    evaluate_run(Path(finished[0].output_directory), steps=None, episodes=None, seed=0)
  with pytest.raises(ConfigurationError, match="collected its own data"):
    compare.main([finished[0].output_directory])


def test_the_report_over_seeds(finished, tmp_path, capsys, parsed_flags):
  pytest.importorskip("matplotlib")
  for seed in range(2):
    config = copied(finished, tmp_path / f"run-{seed}")
    results = json.loads((tmp_path / f"run-{seed}" / "results.json").read_text())
    results["seed"] = results["config"]["seed"] = config.seed = seed
    for row in results["rows"]:
      # One more than the metrics have: evaluated again, with more episodes than while it was trained.
      row["returns_by_episodes"] = [10.0 * seed + number + row["task_index"] - 89.5 for number in (1, 2, 3, 4)]
    write_json(tmp_path / f"run-{seed}" / "results.json", results)
  with flagsaver.flagsaver(picture=str(tmp_path / "curve.png")):
    online_report.main([str(tmp_path / "run-*")])
  # Seeds 0 and 1: 1, 2, 3, 4 and 11, 12, 13, 14 in the mean over tasks.
  assert "| pearl | 6.0 ± 7.1 | 7.0 ± 7.1 | 8.0 ± 7.1 | 9.0 ± 7.1 | 2 | 2320 |" in capsys.readouterr().out
  assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_without_matplotlib_has_a_table_and_no_picture(finished, tmp_path, capsys, monkeypatch, parsed_flags):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  with flagsaver.flagsaver(picture=str(tmp_path / "curve.png")):
    online_report.main([finished[0].output_directory])
  shown = capsys.readouterr().out
  assert "| pearl | " in shown
  assert "no picture: matplotlib is not installed" in shown


def test_the_table_needs_no_metrics_and_the_picture_says_what_is_missing(finished, tmp_path, capsys, parsed_flags):
  pytest.importorskip("matplotlib")
  copied(finished, tmp_path / "run")
  (tmp_path / "run" / "metrics.jsonl").unlink()
  online_report.main([str(tmp_path / "run")])
  with (
    flagsaver.flagsaver(picture=str(tmp_path / "curve.png")),
    pytest.raises(ConfigurationError, match=r"--picture=.*No such file.*metrics.jsonl"),
  ):
    online_report.main([str(tmp_path / "run")])
  assert capsys.readouterr().out.count("| pearl | ") == 2


def test_seeds_with_other_numbers_of_episodes_have_no_common_table(finished, tmp_path, parsed_flags):
  for seed in range(2):
    copied(finished, tmp_path / f"run-{seed}")
    results = json.loads((tmp_path / f"run-{seed}" / "results.json").read_text())
    results["seed"] = seed
    for row in results["rows"]:
      row["returns_by_episodes"] = [0.0] * (2 + seed)
    write_json(tmp_path / f"run-{seed}" / "results.json", results)
  with pytest.raises(ConfigurationError, match=r"^pearl: not all seeds have the same number of episodes"):
    online_report.main([str(tmp_path / "run-*")])


def test_a_return_that_is_null_stays_visible(finished, tmp_path, capsys, parsed_flags):
  copied(finished, tmp_path / "run")
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  results["rows"][0]["returns_by_episodes"][1] = None
  write_json(tmp_path / "run" / "results.json", results)
  online_report.main([str(tmp_path / "run")])
  cells = capsys.readouterr().out.splitlines()[2].split(" | ")
  assert [cell == "nan" for cell in cells[1:4]] == [False, True, False]
  assert "nan" in results_table(results["rows"])
