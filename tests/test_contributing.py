"""The worked example of CONTRIBUTING.md is an algorithm: a copy of the project with its files keeps the contract."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NAME = "expectile_macaw"
FILES = (f"macaw_jax/algorithms/{NAME}.py", "macaw_jax/algorithms/__init__.py", f"configs/{NAME}.py")
COPIED = ("macaw_jax", "configs", "experiments", "starter_data", "tests")

CHECKS = f"""
from configs import algorithm
from configs.{NAME} import get_config
from experiments.build import examine
from macaw_jax.algorithms.settings import defaults_of, setting_faults
from macaw_jax.types import Problem

assert defaults_of("{NAME}")["expectile"] == 0.7
assert "expectile" in setting_faults("{NAME}", Problem(3, 2, 4, 0.9), {{"expectile": 1.5}})
examine(algorithm.get_config("{NAME}"))
config = get_config()
config.population.grid = "expectile=0.6,0.8"
examine(config)
"""


def blocks():
  """Language, path and text of each block that is a file of the example, or a change of one; its path stands before."""
  found, path = [], None
  pattern = r"`([\w/]+\.py)`:\n|```(python|diff)\n(.*?)```"
  for named, language, text in re.findall(pattern, (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL):
    path = named or path
    if text:
      found.append((language, path, text))
  return found


def insert(source, diff):
  """The source with the lines of a diff that begin with `+`, each behind the line that it follows there."""
  lines, before = source.splitlines(), None
  for line in diff.splitlines():
    if line.startswith("+"):
      lines.insert(lines.index(before) + 1, line[1:])
    before = line[1:]
  return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """A copy of the project with the files of the example."""
  copy = tmp_path_factory.mktemp("project")
  for name in COPIED:
    shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
  shutil.copy(ROOT / "pyproject.toml", copy)
  written = blocks()
  assert {path for _, path, _ in written} == set(FILES)
  for language, path, text in written:
    file = copy / path
    assert file.exists() == (language == "diff")
    file.write_text(insert(file.read_text(), text) if language == "diff" else text)
  return copy


def run_in(project, *command):
  result = subprocess.run([sys.executable, *command], cwd=project, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


def test_the_contract_test_covers_the_example(project):
  output = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-k", NAME, "tests/contract/test_algorithms.py")
  assert "1 passed" in output


def test_settings_and_configuration_follow_from_the_signature(project):
  run_in(project, "-c", CHECKS)


def test_the_linters_find_nothing(project):
  run_in(project, "-m", "ruff", "check", *FILES)
  run_in(project, "-m", "ruff", "format", "--check", *FILES)
