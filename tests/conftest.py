"""Fixtures for all tests."""

import jax
import pytest


@pytest.fixture
def quick_compile():
  """Compiles with few optimisations: for tests that compile much and compute little."""
  before = jax.config.values["jax_disable_most_optimizations"]
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)
