"""Populations from the command line: their members, and runs of several at once."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from miniature_run import interrupt_at

from configs import macaw
from experiments import training
from experiments.command_line import TrainingError
from experiments.configuration import ConfigurationError
from experiments.evaluate import evaluate_run
from experiments.experiment import load_experiment, make_algorithm
from experiments.interruption import Interrupted, Interruption
from experiments.population import members_of
from experiments.run import run
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.metrics import read_rows
from macaw_jax.training.population import no_skips

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_members_are_written_where_they_would_be_alone():
  config = macaw.get_config()
  config.seed, config.population.seeds = 3, 2
  members = members_of(config)
  assert [member.config.seed for member in members] == [3, 4]
  assert [member.config.output_directory for member in members] == [None, None]
  alone = macaw.get_config()
  alone.seed = 4
  assert members[1].config.to_dict() == alone.to_dict()

  config.population.grid = "temperature=0.5,1; first_order=true,FALSE"
  members = members_of(config)
  assert len(members) == 8
  assert members[2].hyperparameters == {"temperature": 0.5, "first_order": False}
  assert members[2].config.algorithm.temperature == 0.5
  assert members[2].config.output_directory == "runs/macaw-cheetah_dir-temperature=0.5-first_order=False-3"
  assert members[2].label == "temperature=0.5, first_order=False, seed 3"
  config.output_directory = "elsewhere"
  assert members_of(config)[0].config.output_directory == "elsewhere/temperature=0.5-first_order=True-3"


@pytest.mark.parametrize(
  ("grid", "message"),
  [
    ("temperature", r"'temperature': expected <name>=<value>,<value>,..."),
    ("temperature=", r"expected <name>=<value>,<value>,..."),
    ("heat=1,2", r"config.algorithm has no field 'heat'"),
    ("temperature=warm", r"temperature=warm: expected a number"),
    ("first_order=1,0", r"first_order=1: expected true or false"),
    ("inner_steps=1,2", r"config.algorithm.inner_steps = 1 decides the shape of the program"),
    ("layer=dense,weight_transform", r"config.algorithm.layer = 'weight_transform' decides the shape"),
    ("ema_decay=0.9,0.99", r"config.algorithm.ema_decay = None decides the shape"),
    ("temperature=1;temperature=2", r"temperature is there twice"),
    ("temperature=1,1.0", r"temperature has a value twice"),
    ("temperature=1,nan", r"temperature=nan: expected a number"),
  ],
)
def test_a_grid_that_cannot_be(grid, message):
  config = macaw.get_config()
  config.population.grid = grid
  with pytest.raises(ConfigurationError, match=message):
    members_of(config)


def test_seeds_that_do_not_exist():
  config = macaw.get_config()
  config.seed, config.population.seeds = 2**32 - 1, 2
  with pytest.raises(ConfigurationError, match=r"the last seed would be 4294967296"):
    members_of(config)


def test_values_are_checked_one_by_one(miniature):
  miniature.population.grid = "temperature=1,-1"
  with pytest.raises(ConfigurationError, match=r"temperature=-1.0 must be positive"):
    run(miniature)
  assert not Path(miniature.output_directory).exists()


def newest_state(config):
  experiment = load_experiment(config)
  state = initialise(make_algorithm(config, experiment.problem), jax.random.key(7))
  with Checkpoints(Path(config.output_directory) / "checkpoints") as checkpoints:
    return checkpoints.restore(Checkpoint(state, experiment.statistics, no_skips()))[0].state


def copy_of(config, directory, **population):
  config = config.copy_and_resolve_references()
  config.output_directory = str(directory)
  config.population.update(population)
  return config


def test_a_population_is_its_members_alone_and_continues(miniature, tmp_path, monkeypatch, capsys):
  config = copy_of(miniature, tmp_path / "population", seeds=2)

  interruption = Interruption()
  with monkeypatch.context() as patch:
    patch.setattr(training, "ProgressLine", interrupt_at(30, interruption))
    with pytest.raises(Interrupted):
      run(config, interruption)
  run(config)
  said = capsys.readouterr().out
  assert "continuing from the checkpoint of update 30" in said
  assert "| macaw | " in said

  members = members_of(config)
  rows = [read_rows(Path(member.config.output_directory) / "metrics.jsonl") for member in members]
  assert rows[0] != rows[1]
  for member, of_member in zip(members, rows, strict=True):
    alone = copy_of(member.config, tmp_path / "alone" / str(member.config.seed))
    run(alone)
    expected = read_rows(Path(alone.output_directory) / "metrics.jsonl")
    assert [row["step"] for row in of_member] == [row["step"] for row in expected]
    for row, reference in zip(of_member, expected, strict=True):
      for name in reference.keys() - {"wall_time", "steps_per_second"}:
        np.testing.assert_allclose(row[name], reference[name], rtol=2e-3, atol=2e-3, err_msg=name)
    states = newest_state(member.config), newest_state(alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3), *(s.params for s in states))

  # Each is a run of its own: it can be evaluated, and goes on alone.
  directory = Path(members[1].config.output_directory)
  evaluate_run(directory, steps=["1"], episodes=2, seed=0)
  longer = copy_of(members[1].config, directory)
  longer.training.steps, longer.algorithm.decay_steps = 60, members[1].config.algorithm.decay_steps
  run(longer)
  assert int(newest_state(longer).step) == 60

  # Now its members stand at different updates: both go on from the last that they share.
  capsys.readouterr()
  config.training.steps, config.algorithm.decay_steps = 80, members[0].config.algorithm.decay_steps
  run(config)
  assert "continuing from the checkpoint of update 40" in capsys.readouterr().out
  for member in members:
    assert int(newest_state(member.config).step) == 80
    steps = [row["step"] for row in read_rows(Path(member.config.output_directory) / "metrics.jsonl")]
    assert steps == sorted(steps)


def test_members_without_a_common_checkpoint_are_not_continued(miniature, tmp_path):
  alone = copy_of(miniature, tmp_path / "population" / "0")
  run(alone)
  with pytest.raises(ConfigurationError, match=r"0 went on without \S+/1; start .* alone \(--config\.seed=1 "):
    run(copy_of(miniature, tmp_path / "population", seeds=2))
  assert not (tmp_path / "population" / "1").exists()
  other = copy_of(miniature, tmp_path / "population" / "1")
  other.seed = 1
  run(other)
  for name, kept in (("0", 20), ("1", 40)):
    checkpoints = tmp_path / "population" / name / "checkpoints"
    for step in {path.name for path in checkpoints.iterdir()} - {str(kept)}:
      shutil.rmtree(checkpoints / step)
  with pytest.raises(ConfigurationError, match=r"members have no checkpoint of one step in common"):
    run(copy_of(miniature, tmp_path / "population", seeds=2))


def test_a_member_that_diverges_leaves_the_others_alone(miniature, tmp_path, capsys):
  config = copy_of(miniature, tmp_path / "population", grid="policy_learning_rate=0.0003,1e30")
  run(config)
  said = capsys.readouterr().out
  # One update brings the parameters to 1e30, and none after it is finite.
  assert (
    "policy_learning_rate=1e+30, seed 0 has stopped at update 11: not every number was finite after its last 10" in said
  )
  assert "the update after step 1: not finite in it: inner_policy_loss_0, policy_loss" in said
  well, diverged = (Path(member.config.output_directory) for member in members_of(config))
  skipped = [
    [row["skipped_updates"] for row in read_rows(directory / "metrics.jsonl") if "skipped_updates" in row]
    for directory in (well, diverged)
  ]
  assert skipped == [[0, 0, 0, 0], [9, 10, 10, 10]]
  with np.load(diverged / "non_finite_update_1.npz") as batch:
    assert batch["support.observation"].shape == (3, 16, 2)
  assert json.loads((diverged / "results.json").read_text())["step"] == 11
  assert json.loads((well / "results.json").read_text())["step"] == 40
  assert "policy_learning_rate=1e+30, seed 0 stands at update 11" in said

  alone = copy_of(miniature, tmp_path / "alone")
  alone.algorithm.policy_learning_rate = 1e30
  with pytest.raises(TrainingError, match=r"no member is left that has finite numbers"):
    run(alone)
