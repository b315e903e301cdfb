"""The lock on a run's directory, between real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configuration import ConfigurationError
from experiments.run_lock import LOCK, hold_lock

REPOSITORY = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from experiments.run_lock import hold_lock
with hold_lock(Path(sys.argv[1]), print):
  print("ready", flush=True)
  time.sleep(1e6)
"""


@pytest.fixture
def holder(tmp_path):
  """A process that holds the lock."""
  child = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
  )
  assert child.stdout.readline() == "ready\n"
  yield child
  child.kill()
  child.communicate()


def test_a_directory_in_use_is_refused_and_names_who_uses_it(holder, tmp_path):
  with pytest.raises(ConfigurationError, match=rf"is in use by process {holder.pid} on .*, started 20"):
    hold_lock(tmp_path, print).__enter__()
  assert f"process {holder.pid}" in (tmp_path / LOCK).read_text()


def test_the_lock_of_a_killed_run_is_taken_over(holder, tmp_path):
  holder.kill()
  holder.wait()
  said = []
  with hold_lock(tmp_path, said.append):
    pass
  (line,) = said
  assert f"its lock was left by process {holder.pid} on " in line
  assert line.endswith("taking over")


def test_a_run_that_came_to_its_end_leaves_nothing_to_say(tmp_path):
  said = []
  for _ in range(2):
    with hold_lock(tmp_path, said.append):
      assert (tmp_path / LOCK).read_text().startswith("process ")
  assert said == []
