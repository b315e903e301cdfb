"""Commands of the repository in processes of their own, their output read line by line with the clock."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def stamped_lines(
  arguments: Sequence[str], changes: Mapping[str, str] | None = None, without: Sequence[str] = ()
) -> Generator[tuple[float, str], None, None]:
  """Yields the lines that `python <arguments>` prints, with the seconds since it was started.

  The command is ended when its reader stops reading.

  Args:
    arguments: after `python`.
    changes: variables of the environment to set.
    without: variables to take away.

  Raises:
    RuntimeError: the command failed; with what it wrote on stderr.
  """
  kept = {name: value for name, value in os.environ.items() if name not in without}
  started = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, *arguments],
    cwd=ROOT,
    env={**kept, **(changes or {})},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  with process:
    try:
      for line in process.stdout:
        yield time.perf_counter() - started, line.rstrip("\n")
      _, complaint = process.communicate()
    finally:
      process.terminate()
  if process.returncode:
    raise RuntimeError(f"{' '.join(arguments)}: exit code {process.returncode}: {complaint.strip()}")
