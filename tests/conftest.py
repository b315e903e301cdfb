"""Fixtures for all tests."""

import os
import signal
from pathlib import Path

# Compiling MJX takes minutes of a core: a second run of the tests reads what the first compiled. JAX and the commands
# that tests start see this in their environment.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "macaw_jax" / "tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
# Small programs too: many tests compile the same ones, in two workers and in processes of their own.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Most tests, and the commands that they start, compile much and compute little.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# The workers share the cores: threads of NumPy's linear algebra in both would mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell that starts the tests in the background has SIGINT ignored, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
  """Frees what a file of tests has compiled: kept to the end, the programs of all of them are gigabytes."""
  yield
  jax.clear_caches()
