"""The identity of the code behind a run, of this one and of copies that are changed."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import jax
import pytest

from macaw_jax.training import provenance

ROOT = Path(__file__).parents[2]
SOURCES = ("macaw_jax", "experiments")


@pytest.fixture
def copy(tmp_path):
  """The source in another place, without a repository."""
  for package in SOURCES:
    shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
  return tmp_path


def identity_in(folder):
  """Of the source in a folder, as its own module sees it; an identity is read once in a process."""
  file = folder / "macaw_jax" / "training" / "provenance.py"
  spec = importlib.util.spec_from_file_location("provenance_of_copy", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.code_identity()


def test_every_source_file_and_every_model_has_a_digest():
  files = provenance.code_identity()["files"]
  expected = {path for package in SOURCES for path in (ROOT / package).rglob("*.py")}
  expected |= set((ROOT / "macaw_jax" / "envs" / "assets").iterdir())
  assert set(files) == {path.relative_to(ROOT).as_posix() for path in expected}
  assert {len(digest) for digest in files.values()} == {16}


def test_versions_are_those_of_this_process():
  versions = provenance.code_identity()["versions"]
  assert versions["jax"] == jax.__version__
  assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_identity_survives_json_and_says_nothing_of_the_machine():
  identity = provenance.code_identity()
  text = json.dumps(identity)
  assert json.loads(text) == identity
  assert provenance.code_differences(json.loads(text), identity) == []
  assert str(ROOT) not in text


def test_a_copy_in_another_place_is_the_same_code(copy):
  assert identity_in(copy) == identity_in(ROOT)


def test_changes_are_named(copy):
  before = identity_in(copy)
  (copy / "macaw_jax" / "new.py").write_text("")
  (copy / "macaw_jax" / ".hidden.py").write_text("")
  (copy / "macaw_jax" / "notes.txt").write_text("")
  (copy / "macaw_jax" / "losses" / "returns.py").unlink()
  for name in ("macaw_jax/losses/values.py", "macaw_jax/envs/assets/ant.xml", "experiments/run.py"):
    with (copy / name).open("a") as file:
      file.write("\n")
  assert sorted(provenance.code_differences(before, identity_in(copy))) == [
    "experiments/run.py changed",
    "macaw_jax/envs/assets/ant.xml changed",
    "macaw_jax/losses/returns.py removed",
    "macaw_jax/losses/values.py changed",
    "macaw_jax/new.py added",
  ]


def test_versions_are_named_before_files():
  before = {"versions": {"python": "3.11.9", "jax": "0.10.1", "brax": "0.14.2"}, "files": {"macaw_jax/a.py": "0"}}
  now = {"versions": {"python": "3.11.10", "jax": "0.10.2", "flax": "0.12"}, "files": {"macaw_jax/a.py": "1"}}
  assert provenance.code_differences(before, now) == [
    "python 3.11.9 -> 3.11.10",
    "jax 0.10.1 -> 0.10.2",
    "brax removed",
    "flax added",
    "macaw_jax/a.py changed",
  ]


def test_a_long_list_is_cut():
  now = {"files": {f"macaw_jax/{number}.py": "0" for number in range(13)}}
  lines = provenance.code_differences({}, now)
  assert len(lines) == provenance.MOST_DIFFERENCES + 1
  assert lines[0] == "macaw_jax/0.py added"
  assert lines[-1] == "... and 3 more"
