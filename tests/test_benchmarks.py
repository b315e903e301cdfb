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


def test_engines_are_timed_and_compared():
  command = [
    sys.executable,
    "-m",
    "benchmarks.engines",
    "--families=point_robot,cheetah_dir",
    "--episodes=2",
    "--repeats=1",
  ]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
  assert [row[0] for row in rows] == ["family", "point_robot", "cheetah_dir"]
  assert rows[1][3] == rows[1][8] == "-"  # it has no native engine
  assert float(rows[2][3].replace(",", "")) > 0
  assert float(rows[2][8]) < 1e-6
