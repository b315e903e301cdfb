"""A small dataset, a configuration for it that runs in seconds, and programs that are compiled once."""

import jax
import pytest
from absl import flags
from jax.experimental.compilation_cache import compilation_cache
from miniature_run import make_miniature, write_point_robot


@pytest.fixture(scope="session")
def point_robot_directory(tmp_path_factory):
  """The small dataset, written once."""
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory


@pytest.fixture
def miniature(point_robot_directory, tmp_path):
  """A locked configuration of 40 updates, to be run in a folder of the test."""
  return make_miniature(point_robot_directory, tmp_path / "run")


@pytest.fixture
def parsed_flags():
  """For what reads flags in this process: their defaults, unless pytest's process has parsed them already."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"])


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
  """Compiles with few optimisations and each program once: runs of a file are alike, and compared bit for bit."""
  options = {
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
  }
  before = {name: jax.config.values[name] for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()  # Its directory is read once, at the first compilation.
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
