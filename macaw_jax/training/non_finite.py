"""Updates after which not every number is finite: they are skipped and counted, and too many in a row stop a member.

An update is skipped if its new parameters, its new optimiser or its metrics are not all finite; a gradient that is not
finite shows in them. A test inside every update takes a seventh of the time and twice the memory, so a chunk tests once
at its end, and a member that is not finite there does the updates of that chunk again, one by one.

What a member does depends on its state, its skips, the dataset and its key alone: not on the others, and not on whether
the run was stopped between two chunks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.training import devices
from macaw_jax.training.loop import Chunk, Dataset, Sample, make_chunk
from macaw_jax.training.population import (
  KEPT,
  MEMBER_AXIS,
  SKIPPED_UPDATES,
  MakeAlgorithm,
  Population,
  PopulationChunk,
  Skips,
  choose,
  has_stopped,
  is_finite,
  make_population_chunk,
)
from macaw_jax.types import Array, Key, Metrics, TrainState

Compile = Callable[[Chunk[Any], Any, Dataset, Key], Chunk[Any]]
"""`(chunk, state, dataset, keys) -> chunk`: `compile_chunk`, or `compile_on_mesh` with its mesh."""


class Attempt(NamedTuple):
  """The result of a population's chunk: its metrics say which members have their new state."""

  population: Population
  metrics: Metrics  # [M]

  @property
  def step(self) -> Array:
    """Updates that each member has done, `[M]`."""
    return self.population.step


def make_guarded_chunk(
  make_algorithm: MakeAlgorithm, sample: Sample, num_steps: int, *, max_skips_in_a_row: int, own_data: bool = False
) -> Chunk[Attempt]:
  """Makes the function that repeats `num_steps` updates with a test after each, still to be compiled.

  The arguments are those of `make_population_chunk`.

  Returns:
    `(attempt, dataset, keys [M]) -> (attempt, {})`. Members that have their new state, or have stopped, stay as they
    are. The metrics of the others are means over the updates that were applied, NaN if none was.
  """

  def repeat(
    hyperparameters: dict[str, Array], state: TrainState, skips: Skips, attempted: Metrics, dataset: Dataset, key: Key
  ) -> tuple[TrainState, Skips, Metrics]:
    update = make_chunk(make_algorithm(**hyperparameters), sample, 1)

    def step(carry: tuple[TrainState, Skips], _: None) -> tuple[tuple[TrainState, Skips], tuple[Metrics, Array]]:
      state, skips = carry
      updated, metrics = update(state, dataset, key)
      runs = ~(attempted[KEPT] | has_stopped(skips, max_skips_in_a_row))
      # For the barrier see `make_population_chunk`.
      applied = jax.lax.optimization_barrier(runs & is_finite((updated, metrics)))
      skipped = state._replace(step=state.step + runs), Skips(skips.total + runs, skips.in_a_row + runs)
      reset = skips._replace(in_a_row=jnp.zeros_like(skips.in_a_row))
      return choose(applied, (updated, reset), skipped), (metrics, applied)

    (state, skips), (metrics, applied) = jax.lax.scan(step, (state, skips), length=num_steps)
    means = {name: jnp.mean(values, where=applied) for name, values in metrics.items()}
    means = choose(attempted[KEPT], {name: attempted[name] for name in means}, means)
    return state, skips, means | {SKIPPED_UPDATES: skips.total, KEPT: attempted[KEPT]}

  def chunk(attempt: Attempt, dataset: Dataset, keys: Key) -> tuple[Attempt, Metrics]:
    population, attempted = attempt
    state, skips, metrics = jax.vmap(
      repeat, in_axes=(0, 0, 0, 0, 0 if own_data else None, 0), spmd_axis_name=MEMBER_AXIS
    )(population.hyperparameters, population.state, population.skips, attempted, dataset, keys)
    return Attempt(population._replace(state=state, skips=skips), metrics), {}

  return chunk


def compile_with_skips(
  make_algorithm: MakeAlgorithm,
  sample: Sample,
  num_steps: int,
  max_skips_in_a_row: int,
  compile_chunk: Compile,
  population: Population,
  dataset: Dataset,
  keys: Key,
  *,
  own_data: bool = False,
) -> PopulationChunk:
  """Compiles `num_steps` updates of every member, those skipped after which not every number is finite.

  The arguments are those of `make_population_chunk` and of its chunk, in the layout that they will have. At once,
  `compile_chunk` is called with that chunk and the population; and when an update is first to be skipped, if ever, with
  the chunk of `make_guarded_chunk` and an `Attempt`.

  Returns:
    `(population, dataset, keys) -> (population, metrics [M])`, which donates the population. The metrics are those of
    the algorithm and `skipped_updates`. All processes must call it.
  """
  options: dict[str, Any] = {"max_skips_in_a_row": max_skips_in_a_row, "own_data": own_data}
  attempted = make_population_chunk(make_algorithm, sample, num_steps, **options)
  normal = compile_chunk(attempted, population, dataset, keys)
  guarded: Chunk[Attempt] | None = None

  def chunk(population: Population, dataset: Dataset, keys: Key) -> tuple[Population, Metrics]:
    nonlocal guarded
    attempt = Attempt(*normal(population, dataset, keys))
    kept, skips = devices.fetch((attempt.metrics[KEPT], attempt.population.skips))
    if not (kept | has_stopped(skips, max_skips_in_a_row)).all():
      if guarded is None:
        repeat = make_guarded_chunk(make_algorithm, sample, num_steps, **options)
        guarded = compile_chunk(repeat, attempt, dataset, keys)
      attempt, _ = guarded(attempt, dataset, keys)
    return attempt.population, {name: values for name, values in attempt.metrics.items() if name != KEPT}

  return chunk
