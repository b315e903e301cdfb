"""A small dataset, runs of each kind that are trained once, and programs that are compiled once."""

from typing import NamedTuple

import jax
import ml_collections
import pytest
from jax.experimental.compilation_cache import compilation_cache
from miniatures import GRIDS, KINDS, copy_run, make_config, run_silently, write_point_robot


class Finished(NamedTuple):
  """A run that has come to its end."""

  config: ml_collections.ConfigDict
  said: str


@pytest.fixture(scope="session")
def data(tmp_path_factory):
  """The small dataset, written once."""
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory


@pytest.fixture(params=KINDS)
def kind(request):
  """Each kind of source."""
  return request.param


@pytest.fixture
def miniature(data, tmp_path):
  """`(kind, **population) -> configuration`, to be run in a folder of the test."""

  def make(kind="recorded", **population):
    return make_config(kind, data, tmp_path / "run", **population)

  return make


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
  """The folder of what `compiled_once` compiles, for processes too."""
  return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compiled_once(compiled):
  """Compiles with few optimisations and each program once: runs are alike, and compared bit for bit."""
  options = {
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": str(compiled),
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


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
  """`(kind) -> Finished`, each trained once, by the first test that asks, under its `compiled_once`."""
  runs = {}

  def of_kind(kind):
    if kind not in runs:
      config = make_config(kind, data, tmp_path_factory.mktemp(kind) / "run")
      runs[kind] = Finished(config, run_silently(config))
    return runs[kind]

  return of_kind


@pytest.fixture(scope="session")
def trained_population(data, tmp_path_factory):
  """`(kind) -> Finished` for two seeds of each of two values; the first member is `trained(kind)`."""
  runs = {}

  def of_kind(kind):
    if kind not in runs:
      place = tmp_path_factory.mktemp(f"population_{kind}")
      config = make_config(kind, data, place, seeds=2, grid=GRIDS[kind])
      runs[kind] = Finished(config, run_silently(config))
    return runs[kind]

  return of_kind


@pytest.fixture
def copied(trained, tmp_path):
  """`(kind) -> configuration` of the trained run in a place of the test, for it to change."""
  return lambda kind: copy_run(trained(kind).config, tmp_path / "copy")
