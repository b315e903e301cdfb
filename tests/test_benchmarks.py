"""Every benchmark runs, at a toy size. Its figures are not looked at here."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_update_step_compares_and_times_both_versions():
  sizes = ["--tasks=2", "--batch=8", "--width=8", "--updates=2", "--repeats=2"]
  command = [sys.executable, "-m", "benchmarks.update_step", *sizes]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  (difference,) = re.findall(r"meta-gradient tensor: (\S+)", result.stdout)
  assert float(difference) < 1e-3
  ratios = re.findall(r"\] +(\d+\.\d+) +\d+\.\d+$", result.stdout, flags=re.MULTILINE)
  assert len(ratios) == 2
  assert float(ratios[0]) == 1.0
