"""Programs that tests start, one by one or side by side."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(folder, *arguments):
  """The output of Python in a folder, with the packages of this checkout; fails if it does."""
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  command = [sys.executable, *arguments]
  result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


def run_together(commands, environments, seconds):
  """Returns the output of each command; ends those that are left when the time is over; fails if one failed."""
  children = [
    subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for command, variables in zip(commands, environments, strict=True)
  ]
  end = time.monotonic() + seconds
  try:
    outputs = [child.communicate(timeout=max(1.0, end - time.monotonic()))[0] for child in children]
  finally:
    for child in children:
      if child.poll() is None:
        child.kill()
        child.wait()
  for child, output in zip(children, outputs, strict=True):
    assert child.returncode == 0, output
  return outputs
