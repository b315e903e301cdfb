"""Which checkpoint of a run is evaluated; nothing is trained here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.configuration import ConfigurationError
from experiments.evaluate import evaluate_run
from experiments.experiment import load_experiment, make_algorithm
from experiments.run_directory import data_identity, write_json
from experiments.trained_run import load_checkpoint
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import no_skips


@pytest.fixture
def saved(miniature):
  """A function that saves checkpoints with these scores, by step, and one that loads one."""
  experiment = load_experiment(miniature)
  directory = Path(miniature.output_directory)
  state = initialise(make_algorithm(miniature, experiment.problem), jax.random.key(0))

  def save(scores, **changes):
    with Checkpoints(directory / "checkpoints", data_identity(miniature) | changes) as checkpoints:
      for step, score in scores.items():
        checkpoint = Checkpoint(state._replace(step=jnp.int32(step)), experiment.statistics, no_skips())
        checkpoints.save(step, checkpoint, score=score)
    return directory

  def load(which):
    return int(load_checkpoint(miniature, experiment, directory, which).state.step)

  return save, load


def flip_a_bit(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


def test_the_newest_the_best_and_one_by_its_number(saved):
  save, load = saved
  save({10: 60.0, 20: 70.0, 30: None, 40: 65.0})
  assert [load(which) for which in ("newest", "best", "10", "30")] == [40, 20, 10, 30]
  with pytest.raises(
    ConfigurationError, match=r"^--checkpoint=25: .*run has no .*of this update; it has 10, 20, 30, 40$"
  ):
    load("25")


def test_data_that_have_changed_since_are_said(saved, miniature, capsys):
  save, load = saved
  save({10: None})
  load("newest")
  assert capsys.readouterr().out == ""
  save({20: None}, **{"config.dataset": "0" * 64})
  load("newest")
  assert f"WARNING: {miniature.dataset.directory} is not as it was when" in capsys.readouterr().out


def test_without_scores_there_is_no_best(saved):
  save, load = saved
  save({10: None})
  with pytest.raises(
    ConfigurationError, match=r"^--checkpoint=best: .*no evaluation on training tasks was scored, so there is no"
  ):
    load("best")


def test_a_damaged_newest_is_passed_over_aloud_and_left_as_it_is(saved, capsys):
  save, load = saved
  directory = save({10: 1.0, 20: 2.0, 30: 3.0})
  file = directory / "checkpoints" / "30" / "arrays" / "_METADATA"
  flip_a_bit(file)
  assert load("newest") == 20
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith(f"WARNING: {file}: expected SHA-256")
  assert line.endswith("taking that of update 20")
  for which in ("30", "best"):
    with pytest.raises(ConfigurationError, match=r"30/arrays/_METADATA: expected SHA-256"):
      load(which)
  assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == ["10", "20", "30"]


def test_all_are_damaged(saved):
  save, load = saved
  directory = save({10: None, 20: None})
  for step in ("10", "20"):
    (directory / "checkpoints" / step / "checkpoint.json").unlink()
  with pytest.raises(ConfigurationError, match=r"run: no checkpoint is whole"):
    load("newest")


def test_a_checkpoint_from_before_there_were_versions(saved):
  save, load = saved
  directory = save({10: None})
  (directory / "checkpoints" / "20").mkdir()
  (directory / "checkpoints" / "20" / "_CHECKPOINT_METADATA").write_text("{}")
  with pytest.raises(ConfigurationError, match=r"checkpoints/20: written before checkpoints had a format version"):
    load("newest")


@pytest.mark.parametrize("which", ["latest", "-1", "", "1.5"])
def test_what_names_no_checkpoint_is_refused(miniature, which):
  directory = Path(miniature.output_directory)
  directory.mkdir()
  write_json(directory / "config.json", miniature.to_dict())
  with pytest.raises(ConfigurationError, match=rf"^--checkpoint={which}: expected newest, best or the number of an"):
    evaluate_run(directory, steps=None, episodes=None, seed=0, which=which)
