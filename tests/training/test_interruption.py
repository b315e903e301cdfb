"""Signals that ask a run to stop, sent to real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from macaw_jax.training import interruption as module
from macaw_jax.training.interruption import EXIT_CODES, Interrupted, Interruption

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60  # Far above what a child takes.

# Each prints "ready" when the signal may come.
NOTHING_UNSAVED = """
import hashlib
interruption.advice = "the same command continues"
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes of one call without a return to Python, as a compiler's
"""
HOLDING = """
with interruption.holding():
  print("ready", flush=True)
  while not interruption.received:
    time.sleep(0.01)
  time.sleep(0.5)
  print("saved", flush=True)
sys.exit(EXIT_CODES[interruption.received])
"""
HOLDING_FOR_EVER = """
with interruption.holding():
  print("ready", flush=True)
  time.sleep(1e6)
"""
SAVED = """
with interruption.holding():
  print("ready", flush=True)
  while not interruption.received:
    time.sleep(0.01)
time.sleep(1e6)  # as a process does that waits for the others to end
"""
ABANDONING = """
with interruption.holding():
  try:
    with interruption.abandoning():
      print("ready", flush=True)
      time.sleep(1e6)
  except Interrupted as interrupted:
    time.sleep(0.5)
    print("saved", flush=True)
    sys.exit(EXIT_CODES[interrupted.signal])
"""


# The module imports nothing of the package: children that load its file alone start at once.
HEADER = f"""
import sys, time, runpy
names = runpy.run_path({module.__file__!r})
EXIT_CODES, Interrupted, Interruption = names["EXIT_CODES"], names["Interrupted"], names["Interruption"]
interruption = Interruption()
interruption.listen()
"""


@pytest.fixture(autouse=True)
def no_signal_is_ignored():
  """Children inherit what is ignored, which under nohup is SIGHUP: the tests say themselves what is."""
  ignored = [number for number in EXIT_CODES if signal.getsignal(number) is signal.SIG_IGN]
  for number in ignored:
    signal.signal(number, signal.SIG_DFL)
  yield
  for number in ignored:
    signal.signal(number, signal.SIG_IGN)


def start(program, stderr=subprocess.PIPE):
  child = subprocess.Popen(
    [sys.executable, "-c", HEADER + program], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stderr, text=True
  )
  assert child.stdout.readline() == "ready\n"
  return child


@pytest.mark.parametrize("number", EXIT_CODES)
def test_a_process_with_nothing_unsaved_ends_at_once_from_within_a_long_call(number):
  child = start(NOTHING_UNSAVED)
  child.send_signal(number)
  printed, errors = child.communicate(timeout=SECONDS)
  assert (child.returncode, printed) == (EXIT_CODES[number], "")
  assert errors == f"stopped by {number.name}; the same command continues\n"


@pytest.mark.parametrize("number", EXIT_CODES)
@pytest.mark.parametrize("program", [HOLDING, ABANDONING])
def test_a_process_with_something_unsaved_saves_it(program, number):
  child = start(program)
  child.send_signal(number)
  printed, errors = child.communicate(timeout=SECONDS)
  assert (child.returncode, printed) == (EXIT_CODES[number], "saved\n")
  assert errors == f"{number.name}: saving first; a second signal ends at once\n"


@pytest.mark.parametrize("program", [HOLDING_FOR_EVER, SAVED])
def test_a_second_signal_ends_at_once_with_the_code_of_the_first(program):
  child = start(program)
  child.send_signal(signal.SIGUSR1)
  assert child.stderr.readline().startswith("SIGUSR1: saving first")
  assert child.poll() is None
  child.send_signal(signal.SIGTERM)
  _, errors = child.communicate(timeout=SECONDS)
  assert (child.returncode, errors) == (EXIT_CODES[signal.SIGUSR1], "stopped by SIGUSR1\n")


@pytest.mark.parametrize("program", [NOTHING_UNSAVED, HOLDING])
def test_nobody_need_be_there_to_read_what_is_said(program):
  with open("/dev/full", "w") as full:
    child = start(program, stderr=full)
    child.send_signal(signal.SIGUSR1)
    child.communicate(timeout=SECONDS)
  assert child.returncode == EXIT_CODES[signal.SIGUSR1]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_stays_so(number):
  before = signal.signal(number, signal.SIG_IGN)  # as nohup and scripts do, and children inherit
  try:
    child = start(NOTHING_UNSAVED)
  finally:
    signal.signal(number, before)
  child.send_signal(number)
  with pytest.raises(subprocess.TimeoutExpired):
    child.wait(timeout=0.5)
  child.kill()
  child.communicate()


def test_a_signal_from_before_a_block_that_is_abandoned_is_raised_in_it():
  interruption = Interruption()
  interruption.received = signal.SIGUSR1
  with interruption.holding(), pytest.raises(Interrupted) as interrupted, interruption.abandoning():
    raise AssertionError("the block has begun")
  assert interrupted.value.signal is signal.SIGUSR1


TAKEN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a library may
interruption.take_back()
print("ready", flush=True)
time.sleep(1e6)
"""


def test_a_signal_that_a_library_has_taken_is_taken_back():
  child = start(TAKEN)
  child.send_signal(signal.SIGTERM)
  child.communicate(timeout=SECONDS)
  assert child.returncode == EXIT_CODES[signal.SIGTERM]


def test_who_does_not_listen_keeps_the_handlers_that_are_there():
  before = [signal.getsignal(number) for number in EXIT_CODES]
  with Interruption().holding():
    Interruption().take_back()
    assert [signal.getsignal(number) for number in EXIT_CODES] == before


@pytest.mark.parametrize(("code", "requeued"), [(75, "requeue 17\n"), (143, ""), (0, "")])
def test_the_slurm_job_of_a_run_that_asks_for_it_goes_back_into_the_queue(tmp_path, code, requeued):
  """`srun` and `scontrol` stand for the cluster."""
  for name, body in {"srun": f"exit {code}", "scontrol": 'echo "$@"'}.items():
    program = tmp_path / name
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)
  ended = subprocess.run(
    ["bash", REPOSITORY / "launch" / "slurm.sh"],
    env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "17"},
    capture_output=True,
    text=True,
  )
  assert (ended.returncode, ended.stdout) == (code, requeued)
