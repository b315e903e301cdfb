"""How the entry points end."""

import subprocess
import sys

FAILS = """
from experiments.command_line import launch_with_arguments

def main():
  open("{path}", "w")

launch_with_arguments(lambda arguments: main())
"""


def test_a_disk_that_refuses_is_one_line_and_exit_code_one(tmp_path):
  path = tmp_path / "file" / "results.json"
  (tmp_path / "file").touch()
  code = FAILS.format(path=path)
  process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
  assert process.returncode == 1
  assert process.stderr == f"error: [Errno 20] Not a directory: '{path}'\n"
