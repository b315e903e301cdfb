"""The compiled program of a population: on one device, or laid out over a mesh."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from experiments.configuration import ConfigurationError
from experiments.experiment import Experiment, make_sample, tasks_of_update
from macaw_jax.data.statistics import normalise_dataset
from macaw_jax.training import devices
from macaw_jax.training.loop import Dataset, compile_chunk
from macaw_jax.training.population import MakeAlgorithm, Population, PopulationChunk, make_population_chunk, stack
from macaw_jax.types import Key


class Program(NamedTuple):
  """What trains, with its inputs where it wants them."""

  chunk: PopulationChunk
  population: Population
  data: Dataset
  keys: Key  # [M]


def make_mesh(config: ml_collections.ConfigDict, experiment: Experiment, num_members: int) -> Mesh | None:
  """The devices that are configured; None is the first one alone.

  Raises:
    ConfigurationError: there are fewer, or they do not divide members or tasks.
  """
  if config.devices.seed == config.devices.task == 1 and not config.devices.distributed:
    return None
  num_tasks = tasks_of_update(config, experiment.problem)
  try:
    return devices.make_mesh(config.devices.seed, config.devices.task, members=num_members, tasks=num_tasks)
  except ValueError as error:
    raise ConfigurationError(str(error)) from error


def compile_program(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  make: MakeAlgorithm,
  mesh: Mesh | None,
  population: Population,
  keys: Sequence[Key],
) -> Program:
  """Compiles `config.training.log_every` updates of all members into one call."""
  sample = make_sample(config, experiment.problem)
  data = normalise_dataset(experiment.statistics, experiment.train.data)
  if mesh is None:
    chunk = make_population_chunk(make, sample, config.training.log_every)
    data, stacked_keys = jax.device_put(data), stack(keys)
    return Program(compile_chunk(chunk, population, data, stacked_keys), population, data, stacked_keys)
  by_member = devices.by_member(mesh)
  chunk = make_population_chunk(make, devices.shard_tasks(sample, mesh), config.training.log_every)
  population, stacked_keys = devices.put((population, stack(keys)), by_member)
  data = devices.put(data, devices.replicated(mesh))
  return Program(devices.compile_on_mesh(chunk, mesh, population, data, stacked_keys), population, data, stacked_keys)
