"""Whole runs of each kind of source: what they leave, and that stopping and resuming changes nothing."""

import contextlib
import json
import shutil
import signal
import sys
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
from miniatures import (
  CALL,
  EVERY,
  STEPS,
  changed,
  copy_run,
  end_of,
  make_config,
  results_of,
  rows_of,
  run_silently,
  steps_of,
  stop_at,
  write_point_robot,
)

from experiments.build import build, following
from experiments.run import run
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.evaluation.results import ResultError, read_run
from macaw_jax.training import results as results_module
from macaw_jax.training.interruption import Interruption
from macaw_jax.training.metrics import ProgressLine
from macaw_jax.training.run_directory import LOCK, read_document
from macaw_jax.training.session import train_run

pytestmark = pytest.mark.usefixtures("compiled_once")

PROTOCOLS = {"recorded": "offline", "replayed": "online", "on_policy": "on_policy"}
TASKS = {
  "recorded": [("test", 3), ("test", 4), ("train", 0), ("train", 2)],
  "replayed": [*(("test", task) for task in range(80, 100)), ("train", 0), ("train", 79)],
  "on_policy": [("test", 5000), ("test", 5050), ("test", 5099)],
}


def test_what_a_run_says_and_writes(kind, trained):
  config, said = trained(kind)
  for words in ("compiling", f"step {STEPS}/{STEPS}", f"protocol {PROTOCOLS[kind]}", "test mean of"):
    assert words in said
  directory = Path(config.output_directory)
  names = {path.name for path in directory.iterdir()}
  assert names >= {"config.json", "code.json", "starts.json", "metrics.jsonl", "results.json", "tensorboard"}
  assert steps_of(directory) == [EVERY, STEPS]
  document = json.loads((directory / "config.json").read_text())
  given = json.loads(json.dumps(config.to_dict()))
  if kind == "recorded":
    targets = ("inner_value_target", "outer_value_target", "advantage_target")
    rates = ("fine_tune_value_learning_rate", "fine_tune_policy_learning_rate")
    by_the_data = dict.fromkeys(targets, "monte_carlo") | {"temperature": 1.0} | dict.fromkeys(rates, 1e-3)
    given["algorithm"] |= by_the_data
  assert document["config"] == given | {"variants": {}}  # Those that the run is not.
  (start,) = json.loads((directory / "starts.json").read_text())
  assert start["versions"]["jax"] == jax.__version__

  rows = rows_of(directory)
  assert [row["step"] for row in rows if "skipped_updates" in row] == list(range(CALL, STEPS + 1, CALL))
  assert [row["step"] for row in rows if "test/return_after" in row] == [0, EVERY, STEPS]

  results = results_of(directory)
  assert [(row["split"], row["task_index"]) for row in results["rows"]] == TASKS[kind]
  assert {row["protocol"] for row in results["rows"]} == {PROTOCOLS[kind]}
  last = [row["returns"][-1] for row in results["rows"] if row["split"] == "test"]
  np.testing.assert_allclose(rows[-1]["test/return_after"], np.mean(last))
  assert read_run(directory).seed == config.seed


def test_environment_steps_are_counted(trained):
  replayed, on_policy = (trained(kind).config.output_directory for kind in ("replayed", "on_policy"))
  counts = [row["environment_steps"] for row in rows_of(replayed) if "environment_steps" in row]
  # 80 episodes of 20 steps first, then three of each of three tasks before every call.
  assert counts == [1600 + 180 * call for call in range(1, STEPS // CALL + 1)]
  assert results_of(replayed)["environment_steps"] == counts[-1]
  name = "environment_steps_of_update"
  of_updates = [row[name] for row in rows_of(on_policy) if name in row]
  # Two tasks, four episodes of five steps, before adaptation and after.
  assert of_updates == [80.0] * (STEPS // CALL)


def test_pictures_are_drawn_where_they_can_be(trained, monkeypatch, capsys, tmp_path):
  pytest.importorskip("matplotlib")
  pytest.importorskip("PIL")
  config = trained("recorded").config
  directory = Path(config.output_directory)
  assert (directory / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
  assert (directory / "adapted_rollout.gif").read_bytes().startswith(b"GIF89a")
  # Where the packages are missing, a line says so.
  copy = copy_run(config, tmp_path / "copy")
  for name in ("matplotlib.figure", "PIL.Image", "PIL.ImageDraw"):
    monkeypatch.setitem(sys.modules, name, None)
  run(copy)
  said = capsys.readouterr().out
  assert "no learning curve: matplotlib is not installed" in said
  assert "no picture of an episode: A GIF needs pillow" in said


def test_a_run_that_is_stopped_twice_ends_bit_for_bit_as_one_that_is_not(
  kind, trained, miniature, monkeypatch, compiled
):
  """Before an evaluation that is due, and between two evaluations; so the same seed gives the same run, too.

  Nothing is compiled that the other run has compiled.
  """
  config, undisturbed = miniature(kind), trained(kind).config.output_directory
  before = {path.name for path in compiled.glob("*chunk*-cache")}
  assert before
  said = stop_at(EVERY, config, monkeypatch)
  assert said.endswith(f"the same command continues from update {EVERY}\n")
  said = stop_at(EVERY + CALL, config, monkeypatch)
  assert f"evaluating update {EVERY}, before which the run was stopped" in said
  said = run_silently(config)
  assert f"continuing from the checkpoint of update {EVERY + CALL}\n" in said
  assert end_of(config.output_directory) == end_of(undisturbed)
  assert {path.name for path in compiled.glob("*chunk*-cache")} == before
  starts = json.loads(Path(config.output_directory, "starts.json").read_text())
  assert len(starts) == 3


def test_another_seed_is_another_run(kind, trained, trained_population):
  one = Path(trained(kind).config.output_directory)
  seeds = sorted(Path(trained_population(kind).config.output_directory).glob("*-1"))
  assert len(seeds) == 2
  for other in seeds:
    ours, theirs = (end_of(place)["leaves"] for place in (one, other))
    differ = {path for path in ours if ours[path] != theirs[path]}
    assert any("params" in path for path in differ)
    assert any("replays" in path for path in differ) == (kind == "replayed")


def test_a_finished_run_is_evaluated_again_and_keeps_its_rows(kind, trained, copied):
  config = copied(kind)
  assert "the run is finished already; evaluating it again" in run_silently(config)
  assert end_of(config.output_directory) == end_of(trained(kind).config.output_directory)


@pytest.mark.parametrize("kind", ["recorded", "on_policy"])
def test_a_longer_run_continues(kind, copied):
  config = changed(copied(kind), training__steps=STEPS + EVERY)
  assert f"continuing from the checkpoint of update {STEPS}\n" in run_silently(config)
  assert steps_of(config.output_directory)[-1] == STEPS + EVERY
  assert results_of(config.output_directory)["step"] == STEPS + EVERY


def test_a_longer_run_with_replay_buffers_is_another_run(copied):
  """They have room for so many iterations."""
  with pytest.raises(ConfigurationError, match=r"a run with config\.training\.steps = 8, this one has 12"):
    run(changed(copied("replayed"), training__steps=12))


def test_a_run_does_not_go_backwards(copied):
  with pytest.raises(ConfigurationError, match=r"config\.training\.steps = 4: this run has had 8 updates already"):
    run(changed(copied("recorded"), training__steps=4))


def test_the_update_is_traced_once_in_a_run(miniature):
  """In four compiled calls, between three evaluations and two checkpoints."""
  built, traces = build(miniature()), []

  def counted(**hyperparameters):
    algorithm = built.make_algorithm(**hyperparameters)

    def update(*inputs):
      traces.append(inputs)
      return algorithm.update(*inputs)

    return algorithm._replace(update=update)

  train_run(built._replace(make_algorithm=counted))
  assert len(traces) == 1


# What makes it another run


def test_other_settings_are_refused_with_every_difference_unless_they_are_accepted(kind, copied, capsys):
  config = copied(kind)
  rows = rows_of(config.output_directory)
  other = changed(config, training__checkpoint_every=2, evaluation__episodes=1)
  with pytest.raises(ConfigurationError) as raised:
    run(other)
  assert "config.evaluation.episodes = 2, this one has 1" in str(raised.value)
  assert "config.training.checkpoint_every = 4, this one has 2" in str(raised.value)
  assert "--continue_changed" in raised.value.problems[-1]
  assert rows_of(config.output_directory) == rows
  run(other, continue_changed=True)
  assert "WARNING: going on, although" in capsys.readouterr().out
  assert read_document(Path(config.output_directory))["config"]["evaluation"]["episodes"] == 1


def test_a_field_that_follows_another_is_refused_with_the_ways_on(data, tmp_path, monkeypatch):
  """More steps, which nobody expects to change a decay."""
  config = make_config("recorded", data, tmp_path / "run")
  stop_at(EVERY, config, monkeypatch)
  with config.unlocked():
    config.training.steps = STEPS + EVERY
  with pytest.raises(ConfigurationError) as raised:
    run(config)
  difference, keep, ways = raised.value.problems
  assert difference.endswith(
    "holds a run with config.algorithm.decay_steps = 8, this one has 12, which follows config.training.steps"
  )
  assert keep == "--config.algorithm.decay_steps=8 leaves config.algorithm.decay_steps as that run has it"
  assert [ways.index(word) for word in ("--config.output_directory", "--continue_changed", "not what a run ends in")]
  with config.unlocked():
    config.algorithm.decay_steps = STEPS
  said = run_silently(config)
  assert f"continuing from the checkpoint of update {EVERY}\n" in said
  assert "learning rates are zero from update 8 on (config.algorithm.decay_steps), of 12 updates" in said


def test_fields_that_follow_others_are_found(data, tmp_path):
  config = make_config("on_policy", None, tmp_path / "run")
  assert following(config) == {
    "algorithm.decay_steps": "training.steps",
    "evaluation.support_episodes": "rollouts.episodes",
  }
  with config.unlocked():
    config.algorithm.decay_steps = 3
  assert following(config) == {"evaluation.support_episodes": "rollouts.episodes"}


def test_changed_code_is_refused_with_the_difference_unless_it_is_accepted(kind, copied, capsys):
  config = copied(kind)
  file = Path(config.output_directory, "code.json")
  code = json.loads(file.read_text())
  file.write_text(json.dumps(code | {"versions": code["versions"] | {"jax": "0.0.1"}}))
  with pytest.raises(ConfigurationError, match=rf"holds a run with jax 0\.0\.1 -> {code['versions']['jax']}"):
    run(config)
  run(config, continue_changed=True)
  assert "WARNING: going on, although" in capsys.readouterr().out
  assert json.loads(file.read_text()) == code


def test_a_run_on_changed_data_is_not_continued(tmp_path, monkeypatch):
  place = tmp_path / "data"
  write_point_robot(place)
  config = make_config("recorded", place, tmp_path / "run")
  stop_at(CALL, config, monkeypatch)
  shutil.rmtree(place)
  write_point_robot(place, created="2026-01-01T00:00:00+00:00")  # The same data, made another day.
  stop_at(EVERY, config, monkeypatch)
  shutil.rmtree(place)
  write_point_robot(place, num_episodes=11)
  with pytest.raises(ConfigurationError, match=r"config\.dataset.*: the data have changed since this run began"):
    run(config)


def test_a_directory_of_something_else_is_left_alone(kind, miniature, tmp_path):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "thesis.tex").write_text("")
  with pytest.raises(ConfigurationError, match=r"holds files, and no run"):
    run(miniature(kind))
  assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_directory_in_use_is_refused(kind, copied):
  config = copied(kind)
  with (
    filelock.FileLock(Path(config.output_directory, LOCK)),
    pytest.raises(ConfigurationError, match=r"config\.output_directory: .* is in use by another run"),
  ):
    run(config)


def test_a_run_in_an_earlier_format_is_refused_in_one_line(kind, copied):
  config = copied(kind)
  file = Path(config.output_directory, "config.json")
  document = json.loads(file.read_text())
  file.write_text(json.dumps(document["config"]))
  with pytest.raises(ConfigurationError) as raised:
    run(config)
  (problem,) = raised.value.problems
  assert f"{file}: a run in format 1, this release reads 2" in problem
  results = Path(config.output_directory, "results.json")
  values = json.loads(results.read_text())
  del values["format_version"]
  results.write_text(json.dumps(values))
  with pytest.raises(ResultError) as raised:
    read_run(Path(config.output_directory))
  (problem,) = raised.value.problems
  assert problem.startswith(f"{results}: format_version: expected 2, found None")


# What is damaged


def flip_a_bit(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_and_kept(kind, trained, copied):
  config = copied(kind)
  checkpoints = Path(config.output_directory, "checkpoints")
  file = checkpoints / str(STEPS) / "arrays" / "_METADATA"
  flip_a_bit(file)
  said = run_silently(config)
  assert f"WARNING: {file}" in said
  assert f"continuing from the checkpoint of update {EVERY}\n" in said
  assert (checkpoints / f"damaged-{STEPS}").is_dir()
  assert end_of(config.output_directory) == end_of(trained(kind).config.output_directory)


def test_without_a_whole_checkpoint_nothing_is_begun_anew_unasked(copied):
  config = copied("recorded")
  directory = Path(config.output_directory)
  rows = (directory / "metrics.jsonl").read_bytes()
  for step in steps_of(directory):
    (directory / "checkpoints" / str(step) / "checkpoint.json").write_text("{}")
  with pytest.raises(ConfigurationError, match=r"no checkpoint is as it was saved"):
    run(config)
  shutil.rmtree(directory / "checkpoints")
  with pytest.raises(ConfigurationError, match=r"has results\.json, but no checkpoint to go on from"):
    run(config)
  assert (directory / "metrics.jsonl").read_bytes() == rows


def test_what_a_killed_start_leaves_of_files_keeps_nobody_from_going_on(trained, copied):
  config = copied("recorded")
  directory = Path(config.output_directory)
  shutil.rmtree(directory / "checkpoints" / str(STEPS))
  starts = json.loads((directory / "starts.json").read_text())
  (directory / "starts.json").write_text('[{"time": "2026')
  with (directory / "metrics.jsonl").open("a") as file:
    file.write('{"step": 6, "wall_ti')
  (directory / ".config.json.partial").write_text('{"alg')
  run(config)
  assert (directory / "damaged-starts.json").read_text() == '[{"time": "2026'
  assert end_of(directory) == end_of(trained("recorded").config.output_directory)
  # Other arithmetic than at the last start is logged.
  starts[-1]["arithmetic"]["cores"] += 1
  (directory / "starts.json").write_text(json.dumps(starts))
  cores = starts[-1]["arithmetic"]["cores"]
  assert f"those of an undisturbed run: cores {cores} -> {cores - 1}\n" in run_silently(config)


# A disk that is full


@contextlib.contextmanager
def files_limited_between(first, last, monkeypatch):
  """Lets no file of this process grow beyond one byte from one step of training to another."""
  resource = pytest.importorskip("resource")
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

  class Limiting(ProgressLine):
    def write(self, now, metrics):
      super().write(now, metrics)
      if "steps_per_second" in metrics and now in (first, last):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 if now == first else soft, hard))

  with monkeypatch.context() as patch:
    patch.setattr("macaw_jax.training.session.ProgressLine", Limiting)
    try:
      yield
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_it_trains_on_and_loses_nothing_that_was_saved(trained, miniature, monkeypatch):
  config = miniature()
  with files_limited_between(EVERY + CALL, None, monkeypatch), pytest.raises(TrainingError) as raised:
    run(config)
  assert any("rows could not be written" in problem for problem in raised.value.args)
  assert any(f"its newest checkpoint is of update {EVERY}" in problem for problem in raised.value.args)
  assert steps_of(config.output_directory) == [EVERY]
  assert [row["step"] for row in rows_of(config.output_directory)][-1] < STEPS
  run(config)
  assert end_of(config.output_directory) == end_of(trained("recorded").config.output_directory)


def test_a_disk_that_has_room_again_gets_all(trained, miniature, monkeypatch, capsys):
  config = miniature()
  with files_limited_between(CALL, EVERY + CALL, monkeypatch):
    run(config)
  assert f"WARNING: update {EVERY} is NOT saved: " in capsys.readouterr().out
  found, expected = end_of(config.output_directory), end_of(trained("recorded").config.output_directory)
  assert found == expected


def test_results_that_cannot_be_written_are_written_by_the_same_command(trained, copied, monkeypatch):
  config = copied("recorded")
  results = Path(config.output_directory, "results.json")
  results.unlink()

  def refuse(*_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(results_module, "write_json", refuse)
    with pytest.raises(TrainingError, match="the same command writes them again"):
      run(config)
  run(config)
  assert results_of(config.output_directory)["rows"] == results_of(trained("recorded").config.output_directory)["rows"]


def test_whoever_calls_a_run_keeps_the_handlers_of_signals(copied):
  before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
  run_silently(copied("recorded"), Interruption())
  assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
