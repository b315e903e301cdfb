"""The linters and the type checker are tests like any other."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize(
  "command",
  [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
  ids=lambda command: " ".join(command[:2]),
)
def test_tool_finds_nothing(command):
  result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stdout + result.stderr
