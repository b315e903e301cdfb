"""Runs in processes of their own that are killed, told to stop, damaged, or run out of disk, and what they end in."""

import contextlib
import json
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
from kill_runs import SECONDS, check, end_state, finish, is_saving, kill_runs, start, write_configuration

from experiments.interruption import EXIT_CODES
from macaw_jax.training.metrics import read_rows

STEPS = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a configuration and a run of it that nobody has disturbed."""
  directory = tmp_path_factory.mktemp("survival")
  write_configuration(directory, STEPS)
  finish(directory / "miniature_config.py", directory / "reference")
  return directory


def said(output):
  """All that the starts of a run have said."""
  return output.with_suffix(".log").read_text()


def wait_until(condition, process):
  """Returns when the condition holds; fails if the process ends before."""
  deadline = time.monotonic() + SECONDS
  while not condition():
    assert process.poll() is None, "the run came to its end"
    assert time.monotonic() < deadline
    time.sleep(0.0005)


def test_killed_at_random_times_and_during_saves_it_ends_bit_for_bit_the_same(tmp_path):
  survived = [kill for _, kills in kill_runs(tmp_path, kills=6, steps=STEPS, seed=0) for kill in kills]
  assert len(survived) == 6


@pytest.mark.parametrize(
  ("phase", "number"),
  [
    ("compiling", signal.SIGTERM),
    ("training", signal.SIGINT),
    ("evaluating", signal.SIGUSR1),
    ("saving", signal.SIGTERM),
  ],
)
def test_told_to_stop_it_saves_and_goes_on(place, tmp_path, phase, number):
  output = tmp_path / "run"
  # A cold compilation, to be met in the middle of it; thousands of episodes to evaluate, likewise.
  environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cold")} if phase == "compiling" else {}
  process = start(place / "miniature_config.py", output, **environment)
  conditions = {
    "compiling": lambda: "compiling 10 updates" in said(output),
    "training": lambda: "step  20/" in said(output),
    "evaluating": lambda: "step  40/" in said(output),
    "saving": lambda: is_saving(output),
  }
  wait_until(lambda: output.with_suffix(".log").exists() and conditions[phase](), process)
  process.send_signal(number)
  assert process.wait(timeout=SECONDS) == EXIT_CODES[number]
  assert "the same command continues from update" in said(output)
  assert not is_saving(output)
  finish(place / "miniature_config.py", output)
  check(output, place / "reference")


def limit_files(process, size):
  """Lets no file of the process grow beyond `size` bytes from now on, as a disk that is full."""
  _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


def run_on_a_disk_that_fills_up(place, output, *, until=None):
  """A run whose disk is full from update 40, up to update `until`; its exit code and what it said."""
  process = start(place / "miniature_config.py", output, stdout=subprocess.PIPE)
  lines = []
  for line in process.stdout:
    lines.append(line)
    if line.startswith("step  40/"):
      limit_files(process, 1)
    if until is not None and line.startswith(f"step {until:>3}/"):
      limit_files(process, resource.RLIM_INFINITY)
  return process.wait(timeout=SECONDS), "".join(lines)


def test_on_a_full_disk_it_trains_on_and_loses_nothing_that_was_saved(place, tmp_path):
  output = tmp_path / "run"
  code, shown = run_on_a_disk_that_fills_up(place, output)
  assert code == 1
  assert "WARNING: update 60 is NOT saved: " in shown
  assert f"step {STEPS}/{STEPS}" in shown
  assert "rows could not be written" in shown
  steps = [row["step"] for row in read_rows(output / "metrics.jsonl")]
  assert steps == sorted(steps)
  assert 30 <= steps[-1] < STEPS
  finish(place / "miniature_config.py", output)
  check(output, place / "reference")


def test_a_disk_that_has_room_again_gets_all(place, tmp_path):
  code, shown = run_on_a_disk_that_fills_up(place, tmp_path / "run", until=80)
  assert code == 0
  assert "WARNING: update 60 is NOT saved" in shown
  check(tmp_path / "run", place / "reference")


def test_a_second_run_in_the_same_directory_is_refused(place, tmp_path):
  output = tmp_path / "run"
  first = start(place / "miniature_config.py", output)
  wait_until(lambda: (output / "lock").exists() and (output / "lock").read_text(), first)
  second = start(place / "miniature_config.py", output, stdout=subprocess.PIPE)
  shown, _ = second.communicate(timeout=SECONDS)
  assert second.returncode == 2
  assert f"error: config.output_directory: {output} is in use by process {first.pid} on " in shown
  first.send_signal(signal.SIGKILL)
  first.wait()
  finish(place / "miniature_config.py", output)
  assert f"its lock was left by process {first.pid}" in said(output)
  check(output, place / "reference")


@pytest.fixture(scope="module")
def stopped_once(place):
  """A run that was stopped half-way, with several checkpoints."""
  output = place / "stopped"
  process = start(place / "miniature_config.py", output)
  wait_until(lambda: output.with_suffix(".log").exists() and "step  60/" in said(output), process)
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=SECONDS) == EXIT_CODES[signal.SIGTERM]
  return output


@pytest.fixture
def stopped(stopped_once, tmp_path):
  """A copy of it, for a test to change and to continue."""
  output = tmp_path / "run"
  shutil.copytree(stopped_once, output)
  return output


def saved_steps(output):
  return sorted(int(path.name) for path in (output / "checkpoints").iterdir() if path.name.isdigit())


def test_a_damaged_checkpoint_is_passed_over_and_kept(place, stopped):
  *_, older, newest = saved_steps(stopped)
  files = [path for path in (stopped / "checkpoints" / str(newest)).rglob("*") if path.is_file()]
  chosen = random.Random(0).choice(files)
  data = bytearray(chosen.read_bytes())
  data[len(data) // 2] ^= 1
  chosen.write_bytes(data)
  finish(place / "miniature_config.py", stopped)
  assert f"WARNING: {chosen}" in said(stopped)
  assert f"continuing from the checkpoint of update {older}\n" in said(stopped)
  assert (stopped / "checkpoints" / f"damaged-{newest}").is_dir()
  check(stopped, place / "reference")


def test_a_run_that_was_moved_goes_on(place, stopped, stopped_once):
  newest = saved_steps(stopped_once)[-1]
  finish(place / "miniature_config.py", stopped)
  assert f"continuing from the checkpoint of update {newest}\n" in said(stopped)
  check(stopped, place / "reference")


def test_without_a_whole_checkpoint_nothing_is_begun_anew_unasked(place, stopped):
  rows = (stopped / "metrics.jsonl").read_bytes()
  for step in saved_steps(stopped):
    (stopped / "checkpoints" / str(step) / "checkpoint.json").write_text("{}")
  process = start(place / "miniature_config.py", stopped, stdout=subprocess.PIPE)
  shown, _ = process.communicate(timeout=SECONDS)
  assert process.returncode == 2
  assert "no checkpoint is as it was saved" in shown
  assert (stopped / "metrics.jsonl").read_bytes() == rows
  assert saved_steps(stopped)


def test_other_arithmetic_is_said(place, stopped):
  starts = json.loads((stopped / "starts.json").read_text())
  starts[-1]["arithmetic"]["cores"] += 1
  (stopped / "starts.json").write_text(json.dumps(starts))
  finish(place / "miniature_config.py", stopped)
  cores = starts[-1]["arithmetic"]["cores"]
  assert f"may differ from those of an undisturbed run: cores {cores} -> {cores - 1}\n" in said(stopped)


def test_whoever_stops_reading_ends_nothing(place, tmp_path):
  output = tmp_path / "run"
  process = start(place / "miniature_config.py", output, stdout=subprocess.PIPE)
  process.stdout.readline()
  process.stdout.close()
  assert process.wait(timeout=SECONDS) == 0
  check(output, place / "reference")


def test_changed_code_is_refused_with_the_difference_unless_it_is_accepted(place, stopped):
  code = json.loads((stopped / "code.json").read_text())
  text = json.dumps(code).replace(f'"jax": "{code["versions"]["jax"]}"', '"jax": "0.0.1"')
  (stopped / "code.json").write_text(text)
  process = start(place / "miniature_config.py", stopped, stdout=subprocess.PIPE)
  shown, _ = process.communicate(timeout=SECONDS)
  assert process.returncode == 2
  assert f"error: {stopped} holds a run with jax 0.0.1 -> {code['versions']['jax']}\n" in shown
  assert "--continue_changed" in shown
  finish(place / "miniature_config.py", stopped, "--continue_changed")
  assert "WARNING: going on, although" in said(stopped)
  check(stopped, place / "reference")
  assert json.loads((stopped / "code.json").read_text()) == code


def test_changed_settings_are_refused_with_every_difference_unless_they_are_accepted(place, stopped):
  changes = ["--config.algorithm.temperature=0.7", "--config.training.query_size=12"]
  process = start(place / "miniature_config.py", stopped, *changes, stdout=subprocess.PIPE)
  shown, _ = process.communicate(timeout=SECONDS)
  assert process.returncode == 2
  assert "holds a run with config.algorithm.temperature = 1.0, this one has 0.7\n" in shown
  assert "holds a run with config.training.query_size = 16, this one has 12\n" in shown
  finish(place / "miniature_config.py", stopped, "--continue_changed", *changes)
  assert end_state(stopped)["step"] == STEPS
  with contextlib.suppress(AssertionError):
    check(stopped, place / "reference")
    pytest.fail("other settings have changed nothing")


def test_what_a_killed_start_leaves_of_lists_and_rows_keeps_nobody_from_going_on(place, stopped):
  (stopped / "starts.json").write_text('[{"time": "2026')
  with (stopped / "metrics.jsonl").open("a") as file:
    file.write('{"step": 70, "wall_ti')
  (stopped / ".config.json.partial").write_text('{"alg')
  finish(place / "miniature_config.py", stopped)
  assert (stopped / "damaged-starts.json").read_text() == '[{"time": "2026'
  check(stopped, place / "reference")
