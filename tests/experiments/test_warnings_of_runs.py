"""Warnings of a run whose agent does not learn: values that diverge, and latents that hold nothing of the task."""

import pytest
from miniatures import changed, make_focal, rows_of, run_silently

from macaw_jax.data.dataset import read_episodes, write_episodes
from macaw_jax.data.manifest import read_manifest
from macaw_jax.evaluation.latents import LATENT_R2, NOTHING
from macaw_jax.training.value_divergence import VALUES_DIVERGE

pytestmark = pytest.mark.usefixtures("compiled_once")

# With these both value networks learn fast, and one that bootstraps at the end of twenty steps learns from itself.
FAST = {
  "algorithm__layer": "weight_transform",
  "algorithm__hidden_sizes": (32, 32),
  "algorithm__value_learning_rate": 0.01,
  "training__log_every": 10,
}
TARGETS = ("algorithm__inner_value_target", "algorithm__outer_value_target", "algorithm__advantage_target")


def divergence_in(rows):
  return [row[VALUES_DIVERGE] for row in rows if "skipped_updates" in row]


def train(miniature, steps, **changes):
  """The output of the run, and its rows."""
  length = {f"training__{name}": steps for name in ("steps", "evaluate_every", "checkpoint_every")}
  config = changed(miniature(), **length, **FAST, **changes)
  return run_silently(config), rows_of(config.output_directory)


def test_bootstrapped_targets_on_short_episodes_are_warned_of_once(miniature):
  said, rows = train(miniature, 40, **dict.fromkeys(TARGETS, "bootstrapped"))
  assert divergence_in(rows)[1:] == [1.0, 1.0, 1.0]
  assert max(row["value_loss"] for row in rows if "value_loss" in row) > 10_000
  (line,) = (line for line in said.splitlines() if "WARNING" in line)
  for words in ("this run, update", "value_loss = ", "0.99^20 = 0.82", "monte_carlo", "learning rates"):
    assert words in line


def test_the_targets_that_the_data_choose_are_sound(miniature):
  said, rows = train(miniature, 40)
  assert divergence_in(rows) == [0.0, 0.0, 0.0, 0.0]
  assert "WARNING" not in said


def test_agents_without_values_and_data_of_the_agent_s_own_have_no_such_metric(trained):
  for kind in ("replayed", "on_policy"):
    assert not any(VALUES_DIVERGE in row for row in rows_of(trained(kind).config.output_directory))


def test_a_run_says_how_much_of_the_tasks_its_latents_hold(data, tmp_path):
  """Supports of walks to the goal tell it."""
  config = make_focal(data, tmp_path / "run")
  said, rows = run_silently(config), rows_of(tmp_path / "run")
  found = {row["step"]: row[LATENT_R2] for row in rows if "test/return_after" in row}
  assert found.keys() == {0, 2}
  assert all(0.5 < value <= 1.0 for value in found.values())
  assert f"latents hold R^2 {found[2]:.2f} of training tasks" in said
  assert "WARNING" not in said


def test_latents_that_hold_nothing_are_warned_of(data, tmp_path):
  """Every task has the same transitions."""
  manifest = read_manifest(data)
  alike = read_episodes(data, manifest, 0)
  write_episodes(tmp_path / "alike", [alike] * len(manifest.tasks), manifest)
  config = make_focal(tmp_path / "alike", tmp_path / "run")
  said, rows = run_silently(config), rows_of(tmp_path / "run")
  (found,) = (row[LATENT_R2] for row in rows if row["step"] == 2 and LATENT_R2 in row)
  assert found < NOTHING
  (line,) = (line for line in said.splitlines() if "WARNING" in line)
  assert f"train/latent_r2 = {found:.2f}" in line


@pytest.mark.parametrize(("kind", "expected"), [("recorded", 0), ("replayed", 3), ("on_policy", 0)])
def test_agents_of_every_kind_that_read_a_latent_say_it_at_every_evaluation(trained, kind, expected):
  rows = rows_of(trained(kind).config.output_directory)
  assert sum(LATENT_R2 in row for row in rows) == expected
