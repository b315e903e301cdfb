"""The compiled program of a population: on one device, or laid out over a mesh."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from experiments.command_line import say
from experiments.configuration import ConfigurationError
from experiments.workload import Workload
from macaw_jax.training import devices
from macaw_jax.training.loop import Chunk, Dataset, State, compile_chunk
from macaw_jax.training.non_finite import Attempt, compile_with_skips
from macaw_jax.training.population import MakeAlgorithm, Population, PopulationChunk, stack
from macaw_jax.types import Key


class Program(NamedTuple):
  """What trains, with its inputs where it wants them."""

  chunk: PopulationChunk
  population: Population
  data: Dataset
  keys: Key  # [M]


def make_mesh(config: ml_collections.ConfigDict, workload: Workload, num_members: int) -> Mesh | None:
  """The devices that are configured; None is the first one alone.

  Raises:
    ConfigurationError: there are fewer, or they do not divide members or tasks.
  """
  if config.devices.seed == config.devices.task == 1 and not config.devices.distributed:
    return None
  num_tasks = workload.tasks_of_update(config)
  try:
    return devices.make_mesh(config.devices.seed, config.devices.task, members=num_members, tasks=num_tasks)
  except ValueError as error:
    raise ConfigurationError(f"config.devices: {error}") from error


def compile_program(
  config: ml_collections.ConfigDict,
  workload: Workload,
  make: MakeAlgorithm,
  mesh: Mesh | None,
  population: Population,
  keys: Sequence[Key],
  max_skips_in_a_row: int,
) -> Program:
  """Compiles `config.training.log_every` updates of all members into one call.

  A member skips updates after which not every number is finite, and stands still after `max_skips_in_a_row` of them;
  see `macaw_jax.training.non_finite`.
  """
  sample = workload.make_sample(config)
  data = workload.training_data()
  stacked_keys = stack(keys)
  if mesh is not None:
    sample = devices.shard_tasks(sample, mesh)
    population, stacked_keys = devices.put((population, stacked_keys), devices.by_member(mesh))
    data = devices.put(data, devices.replicated(mesh))
  else:
    data = jax.device_put(data)

  def compile_here(chunk: Chunk[State], state: State, data: Dataset, keys: Key) -> Chunk[State]:
    if isinstance(state, Attempt):
      say("not every number is finite; compiling the same updates with a test after each ...")
    if mesh is None:
      return compile_chunk(chunk, state, data, keys)
    return devices.compile_on_mesh(chunk, mesh, state, data, keys)

  chunk = compile_with_skips(
    make, sample, config.training.log_every, max_skips_in_a_row, compile_here, population, data, stacked_keys
  )
  return Program(chunk, population, data, stacked_keys)
