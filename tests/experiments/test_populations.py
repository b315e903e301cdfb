"""Populations of each kind of source: members are the runs alone, and one that diverges leaves the others be."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from miniatures import (
  CALL,
  EVERY,
  GRIDS,
  LEARNING_RATES,
  STEPS,
  changed,
  end_of,
  make_config,
  results_of,
  rows_of,
  run_silently,
  steps_of,
  stop_at,
)

from configs import macaw, norml
from experiments.build import build, kind_of
from experiments.run import run
from experiments.variants import members_of, parse_grid
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.training import non_finite_report
from macaw_jax.training.metrics import read_rows

pytestmark = pytest.mark.usefixtures("compiled_once")


def members(config):
  return members_of(config, kind_of(config).data_name(config))


# Members


def test_members_are_written_where_they_would_be_alone():
  config = macaw.get_config()
  config.seed, config.population.seeds = 3, 2
  found = members(config)
  assert [each.seed for each in found] == [3, 4]
  assert [each.config["output_directory"] for each in found] == [None, None]
  alone = macaw.get_config()
  alone.seed = 4
  (only,) = members(alone)
  assert found[1].config == only.config
  assert found[1].directory == only.directory

  config.population.grid = "temperature=0.5,1; first_order=true,FALSE"
  found = members(config)
  assert len(found) == 8
  assert found[2].hyperparameters == {"temperature": 0.5, "first_order": False}
  assert found[2].config["algorithm"]["temperature"] == 0.5
  assert str(found[2].directory) == "runs/macaw-cheetah_dir-temperature=0.5-first_order=False-3"
  assert found[2].label == "temperature=0.5, first_order=False, seed 3"
  config.output_directory = "elsewhere"
  assert str(members(config)[0].directory) == "elsewhere/temperature=0.5-first_order=True-3"


def test_variants_are_written_where_each_would_be_alone():
  config = norml.get_config()
  config.population.variants, config.population.seeds, config.seed = "maml, norml", 2, 3
  found = members(config)
  assert [each.label for each in found] == ["maml, seed 3", "maml, seed 4", "norml, seed 3", "norml, seed 4"]
  assert str(found[3].directory) == "runs/norml-point_rotated-norml-4"
  assert found[0].hyperparameters == config.variants.maml.to_dict()
  assert list(found[3].config["variants"]) == ["norml"]

  alone = norml.get_config()
  alone.population.variants, alone.seed = "norml", 4
  (only,) = members(alone)
  assert only.config == found[3].config
  assert (only.label, only.hyperparameters) == ("", {})

  (plain,) = members(norml.get_config())
  assert str(plain.directory) == "runs/norml-point_rotated-0"
  assert plain.config["variants"] == {}
  config.output_directory = "elsewhere"
  assert [str(each.directory) for each in members(config)][:2] == ["elsewhere/maml-3", "elsewhere/maml-4"]


def test_only_what_differs_between_variants_differs_in_the_program():
  config = norml.get_config()
  config.population.variants = "maml,maml_offset"
  assert set(members(config)[0].hyperparameters) == {"offset", "step_size", "learning_rate"}
  config.variants.maml.step_size = config.variants.maml_offset.step_size = 1
  config.variants.maml_offset.learning_rate = 0
  assert members(config)[1].hyperparameters == {"offset": True, "learning_rate": 0.0}


@pytest.mark.parametrize(
  ("grid", "named"),
  [
    ("temperature", "'temperature'"),
    ("temperature=", "<name>=<value>"),
    ("heat=1,2", "'heat'"),
    ("temperature=warm", "temperature=warm"),
    ("first_order=1,0", "first_order=1"),
    ("adaptation_steps=1,2", "config.algorithm.adaptation_steps = 1"),
    ("layer=dense,weight_transform", "config.algorithm.layer"),
    ("decay_steps=5,6", "config.algorithm.decay_steps = 5000"),
    ("temperature=1;temperature=2", "temperature is there twice"),
    ("temperature=1,1.0", "temperature has a value twice"),
    ("temperature=1,nan", "temperature=nan"),
  ],
)
def test_a_grid_that_cannot_be(grid, named):
  with pytest.raises(ConfigurationError) as raised:
    parse_grid(grid, macaw.get_config().algorithm)
  problem = raised.value.problems[0]
  assert problem.startswith("config.population.grid: ")
  assert named in problem


# Runs


def assert_same_run(found, alone):
  """Rounding apart: products of a batch are not rounded as those of one."""
  ours, theirs = rows_of(found), rows_of(alone)
  assert [row["step"] for row in ours] == [row["step"] for row in theirs]
  for row, reference in zip(ours, theirs, strict=True):
    assert row.keys() == reference.keys()
    for name, value in reference.items():
      # Latents of an agent that has hardly learned hold next to nothing, and rounding decides how much of it.
      atol = 1e-2 if name == "train/latent_r2" else 2e-3
      np.testing.assert_allclose(row[name], value, rtol=2e-3, atol=atol, err_msg=f"{found} {name}")
  returns = [[row["returns"] for row in results_of(place)["rows"]] for place in (found, alone)]
  np.testing.assert_allclose(*returns, rtol=2e-3, atol=2e-3)


def test_a_member_of_a_population_is_the_run_alone(kind, trained, trained_population, data, tmp_path):
  config, said = trained_population(kind)
  assert f"| {config.algorithm.name} (" in said
  found = members(config)
  assert len(found) == 4
  ends = [end_of(each.directory)["leaves"] for each in found]
  assert all(ends[0] != other for other in ends[1:])
  for leaves in ends:  # Each has the scales of its own data, which stand in a checkpoint twice where data change.
    scales = {path.removeprefix(".data"): leaf for path, leaf in leaves.items() if path.startswith(".data.statistics")}
    assert bool(scales) == (kind == "replayed")
    assert leaves | scales == leaves
  assert_same_run(found[0].directory, trained(kind).config.output_directory)
  # The last has the other value and the other seed; its own configuration is that of the run alone.
  alone = changed(make_config(kind, data, tmp_path / "alone"), seed=1)
  ((name, (_, value)),) = parse_grid(GRIDS[kind], alone.algorithm).items()
  alone = changed(alone, **{f"algorithm__{name.replace('.', '__')}": value})
  run_silently(alone)
  assert_same_run(found[3].directory, alone.output_directory)
  documents = [each.directory / "config.json" for each in (found[3], *members(alone))]
  ours, theirs = (json.loads(file.read_text())["config"] | {"output_directory": ""} for file in documents)
  assert ours == theirs


def test_a_population_that_is_stopped_ends_bit_for_bit_as_one_that_is_not(
  kind, trained_population, data, tmp_path, monkeypatch
):
  config = make_config(kind, data, tmp_path / "run", seeds=2, grid=GRIDS[kind])
  stop_at(EVERY + CALL, config, monkeypatch)
  assert f"continuing from the checkpoint of update {EVERY + CALL}" in run_silently(config)
  for found, expected in zip(members(config), members(trained_population(kind).config), strict=True):
    assert end_of(found.directory) == end_of(expected.directory)


def test_variants_differ(data, tmp_path, capsys):
  config = make_config("on_policy", data, tmp_path / "run", variants="maml,norml")
  run(config)
  said = capsys.readouterr().out
  assert "| maml " in said
  assert "| norml " in said
  maml, of_norml = (each.directory for each in members(config))
  assert [results_of(place)["variant"] for place in (maml, of_norml)] == ["maml", "norml"]
  assert rows_of(maml) != rows_of(of_norml)


def test_a_member_goes_on_alone_and_the_population_from_what_all_have(trained_population, tmp_path):
  config = trained_population("recorded").config
  place = tmp_path / "population"
  shutil.copytree(config.output_directory, place)
  config = changed(config, output_directory=str(place), training__steps=STEPS + EVERY)
  found = members(config)
  for each in found:  # They were written for the other place.
    document = json.loads((each.directory / "config.json").read_text())
    document["config"]["output_directory"] = str(each.directory)
    (each.directory / "config.json").write_text(json.dumps(document))
  one = found[1]
  shutil.rmtree(one.directory / "checkpoints" / str(STEPS))
  assert f"continuing from the checkpoint of update {EVERY}\n" in run_silently(config)
  for each in found:
    assert steps_of(each.directory)[-1] == STEPS + EVERY
    steps = [row["step"] for row in read_rows(each.directory / "metrics.jsonl")]
    assert steps == sorted(steps)


def test_members_without_a_common_checkpoint_are_not_continued(trained, data, tmp_path):
  shutil.copytree(trained("recorded").config.output_directory, tmp_path / "population" / "0")
  config = make_config("recorded", data, tmp_path / "population", seeds=2)
  with pytest.raises(ConfigurationError, match=r"0 went on without \S+/1; start .* alone \(--config\.seed=1 "):
    run(config)
  assert not (tmp_path / "population" / "1").exists()
  shutil.copytree(tmp_path / "population" / "0", tmp_path / "population" / "1")
  for each in build(config).members:
    document = json.loads((each.directory / "config.json").read_text())
    document["config"] = json.loads(json.dumps(each.config))
    (each.directory / "config.json").write_text(json.dumps(document))
  for name, kept in (("0", EVERY), ("1", STEPS)):
    checkpoints = tmp_path / "population" / name / "checkpoints"
    for step in {path.name for path in checkpoints.iterdir()} - {str(kept)}:
      shutil.rmtree(checkpoints / step)
  with pytest.raises(ConfigurationError, match=r"members have no checkpoint of one step in common"):
    run(config)


# Numbers that are not finite


@pytest.mark.parametrize(
  "kind", ["recorded", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("replayed", "on_policy"))]
)
def test_a_member_that_diverges_is_skipped_and_counted_and_leaves_the_others_alone(kind, data, trained, tmp_path):
  rate = LEARNING_RATES[kind]
  usual = trained(kind).config.algorithm
  for part in rate.split("."):
    usual = usual[part]
  grid = f"{rate}={usual},1e38"
  config = changed(make_config(kind, data, tmp_path / "population", grid=grid), training__max_skips_in_a_row=3)
  said = run_silently(config)
  well, diverged = (each.directory for each in members(config))
  assert f"{rate}=1e+38, seed 0 has stopped at update" in said
  assert "not finite in it: " in said
  assert "the same command with --debug_nans names the operation" in said
  assert f"{rate}=1e+38, seed 0 stands at update {results_of(diverged)['step']}" in said
  assert results_of(diverged)["step"] < STEPS
  assert results_of(well)["step"] == STEPS
  skipped = [
    [row["skipped_updates"] for row in rows_of(place) if "skipped_updates" in row] for place in (well, diverged)
  ]
  assert skipped[0] == [0] * (STEPS // CALL)
  assert skipped[1][-1] == 3
  (batch,) = diverged.glob("non_finite_update_*.npz")
  with np.load(batch, allow_pickle=False) as file:
    assert "step" in file.files
    if kind == "on_policy":
      assert file["task.angle"].shape == (2,)
    else:
      assert file["support.observation"].shape[2:] == (2,)
  assert_same_run(well, trained(kind).config.output_directory)


@pytest.mark.parametrize(
  "kind", ["recorded", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("replayed", "on_policy"))]
)
def test_the_first_update_that_is_not_finite_can_end_a_run_and_be_looked_into(kind, miniature, monkeypatch):
  """`tests/training/test_diagnosis.py` is about what is found: that takes an update operation by operation."""
  config = changed(miniature(kind), **{f"algorithm__{LEARNING_RATES[kind].replace('.', '__')}": 1e38})
  monkeypatch.setattr(non_finite_report, "first_bad_operation", lambda make, update: f"found after {update.step}")
  with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(TrainingError, match="--debug_nans ends"):
    run(config, debug_nans=True)
  assert "this run has stopped at update" in said.getvalue()
  (batch,) = Path(config.output_directory).glob("non_finite_update_*.npz")
  assert f"  found after {batch.stem.rpartition('_')[2]}\n" in said.getvalue()
  assert not list(Path(config.output_directory).glob("checkpoints/[0-9]*"))


def test_a_run_without_a_finite_member_ends(miniature):
  config = changed(miniature("recorded"), algorithm__policy_learning_rate=1e38, training__max_skips_in_a_row=1)
  with pytest.raises(TrainingError, match="no member is left that has finite numbers"):
    run_silently(config)
