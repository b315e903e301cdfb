"""The linters and the type checker are tests like any other; they run side by side, in processes of their own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
COMMANDS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])


def test_tools_find_nothing():
  processes = [
    subprocess.Popen(
      [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for command in COMMANDS
  ]
  found = [(process.communicate()[0], process.returncode) for process in processes]
  assert all(code == 0 for _, code in found), "\n".join(output for output, _ in found)
