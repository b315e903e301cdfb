"""Programs that tests start side by side."""

import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
