"""Fixtures of the tests of data."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_compile():
  """Compiles with few optimisations: these tests compile much and compute little, in fixtures of modules too."""
  before = jax.config.values["jax_disable_most_optimizations"]
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)
