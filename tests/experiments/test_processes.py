"""Runs in processes of their own that are killed or told to stop, and then continued here."""

import json
import random
import signal
import subprocess
import time

import pytest
from kill_runs import SECONDS, is_saving, said_by, start, write_configuration
from miniatures import EVERY, end_of, make_config, run_silently

from macaw_jax.training.interruption import EXIT_CODES

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture
def started(data, compiled, tmp_path):
  """`(kind, **variables) -> (process, output)`: the run of `trained(kind)` in a process."""

  def begin(kind, *flags, **variables):
    file, output = write_configuration(tmp_path, kind, data), tmp_path / "run"
    return start(file, output, compiled, *flags, **variables), output

  return begin


def wait_until(condition, process, output):
  """Returns when the condition holds; fails if the process ends before."""
  deadline = time.monotonic() + SECONDS
  while not condition():
    assert process.poll() is None, said_by(output)
    assert time.monotonic() < deadline
    time.sleep(0.0005)


@pytest.mark.parametrize(
  ("kind", "moments"),
  [("recorded", ["saving", f"step {EVERY}/"]), ("replayed", ["saving"]), ("on_policy", ["compiled"])],
)
def test_a_run_that_is_killed_ends_bit_for_bit_as_one_that_is_not(kind, moments, started, trained, data):
  """Four kills in all; `kill_runs.py` does hundreds."""
  chance = random.Random(0)
  for moment in moments:
    process, output = started(kind)
    before = len(said_by(output))
    wait_until(lambda: is_saving(output) if moment == "saving" else moment in said_by(output)[before:], process, output)  # noqa: B023
    if moment != "saving":
      time.sleep(chance.uniform(0.0, 0.2))
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=SECONDS) == -signal.SIGKILL
  run_silently(make_config(kind, data, output))
  assert end_of(output) == end_of(trained(kind).config.output_directory)
  assert len(json.loads((output / "starts.json").read_text())) == len(moments) + 1


@pytest.mark.parametrize(
  ("kind", "moment", "number"),
  [
    ("recorded", f"step {EVERY}/", signal.SIGUSR1),  # an evaluation is due
    ("replayed", "saving", signal.SIGTERM),
    ("on_policy", "compiling", signal.SIGINT),  # nothing is compiled before
  ],
)
def test_a_run_that_is_told_to_stop_saves_and_goes_on(kind, moment, number, started, trained, data, tmp_path):
  variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cold")} if moment == "compiling" else {}
  process, output = started(kind, **variables)
  wait_until(lambda: is_saving(output) if moment == "saving" else moment in said_by(output), process, output)
  process.send_signal(number)
  assert process.wait(timeout=SECONDS) == EXIT_CODES[number]
  assert "the same command continues from update" in said_by(output)
  assert not is_saving(output)
  run_silently(make_config(kind, data, output))
  assert end_of(output) == end_of(trained(kind).config.output_directory)


def test_whoever_stops_reading_ends_nothing(data, compiled, tmp_path, trained):
  file = write_configuration(tmp_path, "recorded", data)
  process = start(file, tmp_path / "run", compiled, stdout=subprocess.PIPE)
  process.stdout.readline()
  process.stdout.close()
  assert process.wait(timeout=SECONDS) == 0
  assert end_of(tmp_path / "run") == end_of(trained("recorded").config.output_directory)
