"""Compiled programs on the disk, seen from commands of their own: the setting belongs to a whole process."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROBE = """
import jax
from macaw_jax.compilation_cache import use_compilation_cache
use_compilation_cache()
for number in (1, 2, 3):
  assert jax.jit(lambda x: x + number)(1.0) == 1.0 + number
values = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
import json; print(json.dumps(values))
"""


def child(arguments, cache, **variables):
  """Runs Python with its cache in a folder of the test, and nothing of the user's or of the other tests' settings."""
  environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
  environment |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", **variables}
  command = [sys.executable, *arguments]
  return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def settings(result):
  assert result.returncode == 0, result.stderr
  return json.loads(result.stdout)


def entries(directory):
  return {path.name for path in directory.rglob("*-cache")}


def test_the_folder_is_the_users_alone(tmp_path):
  directory, _ = settings(child(["-c", PROBE], tmp_path))
  assert Path(directory) == tmp_path / "macaw_jax" / "xla"
  assert Path(directory).stat().st_mode & 0o777 == 0o700
  assert entries(Path(directory))


def test_a_relative_cache_folder_is_ignored(tmp_path):
  directory, _ = settings(child(["-c", PROBE], "relative", HOME=str(tmp_path)))
  assert Path(directory) == tmp_path / ".cache" / "macaw_jax" / "xla"


@pytest.mark.parametrize("chosen", ["own", ""])
def test_a_folder_that_the_user_chose_is_kept_with_its_thresholds(chosen, tmp_path):
  chosen = chosen and str(tmp_path / chosen)
  directory, seconds = settings(child(["-c", PROBE], tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=chosen))
  assert directory == chosen
  assert seconds == 1.0
  assert not (tmp_path / "cache").exists()


def test_a_cache_that_the_user_switched_off_stays_off(tmp_path):
  directory, _ = settings(child(["-c", PROBE], tmp_path / "cache", JAX_ENABLE_COMPILATION_CACHE="false"))
  assert directory is None
  assert not (tmp_path / "cache").exists()


def test_a_threshold_that_the_user_chose_is_kept(tmp_path):
  result = child(["-c", PROBE], tmp_path, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="100")
  assert settings(result)[1] == 100.0
  assert not entries(tmp_path)


def test_without_a_writable_folder_there_is_one_line_and_no_cache(tmp_path):
  (tmp_path / "file").write_text("")  # holds for root too, whom no permissions stop
  result = child(["-c", PROBE], tmp_path / "file")
  assert settings(result)[0] is None
  assert result.stderr.startswith("no compilation cache, every start compiles anew: ")
  assert str(tmp_path / "file") in result.stderr
  assert result.stderr.count("\n") == 1


def flipped(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


DAMAGES = (lambda data: data[:-1], lambda data: b"", flipped)  # cut off, empty, a bit changed


def test_damaged_entries_are_compiled_anew_and_replaced(tmp_path):
  directory = Path(settings(child(["-c", PROBE], tmp_path))[0])
  found = sorted(directory.glob("jit__lambda*-cache"))
  before = {entry: entry.read_bytes() for entry in found}
  for entry, damage in zip(found, DAMAGES, strict=True):
    entry.write_bytes(damage(before[entry]))
  result = child(["-c", PROBE], tmp_path)
  settings(result)
  assert result.stderr == f"compilation cache: 3 damaged, removed and compiled anew, in {directory}\n"
  for entry in found:
    assert zlib.decompress(entry.read_bytes())[4:] == zlib.decompress(before[entry])[4:]  # after the time that it took
  assert child(["-c", PROBE], tmp_path).stderr == ""


def test_jax_itself_survives_an_entry_that_is_cut_while_the_command_runs(tmp_path):
  (tmp_path / "cache").mkdir()
  variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  settings(child(["-c", PROBE], tmp_path, **variables))
  entry = next((tmp_path / "cache").glob("jit__lambda*-cache"))
  entry.write_bytes(entry.read_bytes()[:-1])
  result = child(["-c", PROBE], tmp_path, **variables)  # which asserts the value
  settings(result)
  assert "Error reading persistent compilation cache entry" in result.stderr


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_is_not_used(mode, tmp_path):
  directory = tmp_path / "macaw_jax" / "xla"
  directory.mkdir(parents=True)
  directory.chmod(mode)
  result = child(["-c", PROBE], tmp_path)
  assert settings(result)[0] is None
  assert result.stderr.startswith("no compilation cache, every start compiles anew: ")
  assert f"mode {mode:o}" in result.stderr
  assert not entries(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give a folder away")
def test_a_folder_of_another_user_is_not_used(tmp_path):
  directory = tmp_path / "macaw_jax" / "xla"
  directory.mkdir(mode=0o700, parents=True)
  os.chown(directory, 12345, 12345)
  assert settings(child(["-c", PROBE], tmp_path))[0] is None
  assert not entries(directory)
