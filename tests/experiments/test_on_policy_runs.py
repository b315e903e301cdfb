"""Runs on episodes that they act themselves, through the session of runs on a dataset."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from miniature_run import interrupt_at
from on_policy_miniature import make_miniature

from configs import norml, reptile
from experiments import compare, training
from experiments.command_line import TrainingError
from experiments.configuration import ConfigurationError
from experiments.evaluate import evaluate_run
from experiments.interruption import Interrupted, Interruption
from experiments.on_policy_experiment import make_on_policy_experiment
from experiments.population import members_of
from experiments.run import run
from experiments.run_directory import directory_of
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.metrics import read_rows
from macaw_jax.training.population import no_skips

pytestmark = pytest.mark.usefixtures("compiled_once")


def newest_state(config):
  experiment = make_on_policy_experiment(config)
  state = initialise(experiment.make_algorithm(config), jax.random.key(7))
  with Checkpoints(directory_of(config) / "checkpoints") as checkpoints:
    return checkpoints.restore(Checkpoint(state, experiment.statistics, no_skips()))[0].state


def without_times(rows):
  return [{name: row[name] for name in row if name not in ("wall_time", "steps_per_second")} for row in rows]


def metrics_of(config):
  return read_rows(directory_of(config) / "metrics.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compiled_once):
  """The configuration of a run of NoRML that is finished."""
  config = make_miniature(tmp_path_factory.mktemp("finished") / "run")
  run(config)
  return config


def test_what_a_run_writes(finished):
  directory = Path(finished.output_directory)
  rows = read_rows(directory / "metrics.jsonl")
  assert [row["step"] for row in rows if "environment_steps_of_update" in row] == [2, 4, 6, 8]
  assert [row["step"] for row in rows if "test/return_after" in row] == [0, 4, 8]
  # 2 tasks, 4 episodes of 5 steps, before adaptation and after.
  assert {row["environment_steps_of_update"] for row in rows if "environment_steps_of_update" in row} == {80.0}
  assert all(np.isfinite(row["return_after"]) for row in rows if "return_after" in row)

  results = json.loads((directory / "results.json").read_text())
  assert "arm" not in results
  assert [row["task_index"] for row in results["rows"]] == [5000, 5050, 5099]
  assert {(row["protocol"], row["split"], row["support_episodes"], row["episodes"]) for row in results["rows"]} == {
    ("on_policy", "test", 4, 2)
  }
  for name in ("return_before", "return_after"):
    mean = np.mean([row[name] for row in results["rows"]])
    np.testing.assert_allclose([results["mean"]["test"][name], rows[-1][f"test/{name}"]], mean)
  assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == ["4", "8"]
  assert any((directory / "tensorboard").iterdir())


def test_the_same_command_continues_an_interrupted_run_bit_for_bit(finished, tmp_path, monkeypatch, capsys):
  config, interruption = make_miniature(tmp_path / "run"), Interruption()
  with monkeypatch.context() as patch:
    patch.setattr(training, "ProgressLine", interrupt_at(6, interruption))
    with pytest.raises(Interrupted):
      run(config, interruption)
  assert capsys.readouterr().out.endswith("the same command continues from update 6\n")
  run(config)
  said = capsys.readouterr().out
  assert "continuing from the checkpoint of update 6" in said
  assert "protocol on_policy: 4 episodes of the agent's own in each task to adapt to; mean of 2 episodes" in said
  assert "score" not in said
  jax.tree.map(np.testing.assert_array_equal, newest_state(config), newest_state(finished))
  assert without_times(metrics_of(config)) == without_times(metrics_of(finished))


def test_members_of_arms_are_written_where_each_arm_would_be_alone():
  config = norml.get_config()
  config.population.variants, config.population.seeds, config.seed = "maml, norml", 2, 3
  members = members_of(config)
  assert [member.label for member in members] == ["maml, seed 3", "maml, seed 4", "norml, seed 3", "norml, seed 4"]
  assert str(directory_of(members[3].config)) == "runs/norml-point_rotated-norml-4"
  assert members[0].hyperparameters == {**config.variants.maml.to_dict()}
  assert list(members[3].config.variants) == ["norml"]

  alone = norml.get_config()
  alone.population.variants, alone.seed = "norml", 4
  (member,) = members_of(alone)
  assert member.config.to_dict() == members[3].config.to_dict()
  assert (member.label, member.hyperparameters) == ("", {})
  assert members_of(member.config)[0].config.to_dict() == member.config.to_dict()

  plain = members_of(norml.get_config())[0].config
  assert str(directory_of(plain)) == "runs/norml-point_rotated-0"
  assert plain.arms.to_dict() == {}

  config.output_directory = "elsewhere"
  assert [str(directory_of(member.config)) for member in members_of(config)][:2] == [
    "elsewhere/maml-3",
    "elsewhere/maml-4",
  ]


def test_only_what_differs_between_arms_differs_in_the_program():
  config = norml.get_config()
  config.population.variants = "maml,maml_offset"
  assert set(members_of(config)[0].hyperparameters) == {"offset", "step_size", "learning_rate"}
  config.variants.maml.step_size = config.variants.maml_offset.step_size = 1
  config.variants.maml_offset.learning_rate = 0
  assert members_of(config)[1].hyperparameters == {"offset": True, "learning_rate": 0.0}


def test_a_population_of_arms_is_its_members_alone(tmp_path, capsys):
  config = make_miniature(tmp_path / "population", arms="maml,norml", seeds=2)
  run(config)
  said = capsys.readouterr().out
  assert "| maml | " in said
  assert "| norml | " in said
  members = members_of(config)
  written = [json.loads((directory_of(each.config) / "results.json").read_text()) for each in members]
  assert [result["arm"] for result in written] == ["maml", "maml", "norml", "norml"]
  assert without_times(metrics_of(members[0].config)) != without_times(metrics_of(members[2].config))
  for member in members:
    alone = make_miniature(tmp_path / "alone" / member.label, arms=member.config.population.variants)
    alone.seed = member.config.seed
    run(alone)
    ours, theirs = metrics_of(member.config), metrics_of(alone)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, reference in zip(ours, theirs, strict=True):
      for name in reference.keys() - {"wall_time", "steps_per_second"}:
        np.testing.assert_allclose(row[name], reference[name], rtol=1e-3, atol=1e-3, err_msg=f"{member.label} {name}")
    params = [newest_state(each).params for each in (member.config, alone)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3), *params)


def test_a_population_finds_what_an_arm_has_done_alone(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  alone = make_miniature(None, arms="norml").unlock()
  alone.output_directory = None
  alone.training.steps = 4
  alone.algorithm.decay_steps = 8
  run(alone)
  population = alone.copy_and_resolve_references()
  population.population.variants = "maml,norml"
  population.training.steps = 8
  with pytest.raises(ConfigurationError, match=r"norml-0 went on without runs/norml-point_rotated-maml-0; start those"):
    run(population)
  population.population.variants, population.population.seeds = "norml", 3
  with pytest.raises(ConfigurationError) as raised:
    run(population)
  assert raised.value.problems == (
    "config.population: runs/norml-point_rotated-norml-0 went on without runs/norml-point_rotated-norml-1, "
    "runs/norml-point_rotated-norml-2; start those that are new alone (--config.seed=1 --config.population.seeds=2), "
    "then show all with python -m experiments.compare_variants runs/norml-point_rotated-norml-*",
  )
  assert [path.name for path in Path("runs").iterdir()] == ["norml-point_rotated-norml-0"]


def test_reptile_takes_several_inner_steps_and_has_no_loss(tmp_path):
  config = make_miniature(tmp_path / "run", reptile).unlock()
  config.training.steps = config.training.evaluate_every = config.training.checkpoint_every = 2
  run(config)
  (row,) = (row for row in metrics_of(config) if "environment_steps_of_update" in row)
  assert row["environment_steps_of_update"] == (3 + 1) * 80 / 2
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["rows"][0]["support_episodes"] == 3 * 4


def test_numbers_that_are_not_finite_stop_a_run_which_says_in_what_tasks(tmp_path, capsys):
  config = make_miniature(tmp_path / "run").unlock()
  config.algorithm.learning_rate = 1e38
  config.training.max_skips_in_a_row = 2
  with pytest.raises(TrainingError, match="no member is left that has finite numbers"):
    run(config)
  said = capsys.readouterr().out
  assert "this run has stopped at update" in said
  assert "with all 2 tasks of the batch" in said
  (batch,) = (tmp_path / "run").glob("non_finite_update_*.npz")
  with np.load(batch) as file:
    assert file["task.angle"].shape == (2,)


def test_commands_for_runs_on_datasets_say_so(finished):
  with pytest.raises(ConfigurationError, match=r"acts itself; python -m experiments.compare_variants reads"):
    evaluate_run(Path(finished.output_directory), steps=None, episodes=None, seed=0)
  with pytest.raises(ConfigurationError, match=r"acted itself; see python -m experiments.compare_variants"):
    compare.main([finished.output_directory])
