"""Fixtures of the tests of data."""

import jax
import pytest
from miniatures import write_point_robot


@pytest.fixture(scope="module", autouse=True)
def quick_compile():
  """Compiles with few optimisations: these tests compile much and compute little, in fixtures of modules too."""
  before = jax.config.values["jax_disable_most_optimizations"]
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
  """A small dataset of the point robot, written once."""
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory
