"""Compiled updates that several benchmarks time: of one run, and of a population."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.measure import repeated
from benchmarks.random_data import half_cheetah_problem
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.training.loop import Sample, compile_chunk, initialise, make_chunk
from macaw_jax.training.population import MakeAlgorithm, Population, make_population_chunk, no_skips

MAX_SKIPS_IN_A_ROW = 10


class Program(NamedTuple):
  """A compiled program, ready to be timed."""

  run: Callable[[], None]  # returns when its work is done
  compile_seconds: float
  compiled: Any  # `jax.stages.Compiled`


class Recipe(NamedTuple):
  """An algorithm, and the batches that it is updated on."""

  make: MakeAlgorithm
  sample: Sample
  sizes: dict[str, int]  # tasks, support, query


def sampled(make: MakeAlgorithm, tasks: int, support: int, query: int) -> Recipe:
  """An algorithm, with batches of so many tasks and of so many transitions in each support and query."""
  sample = partial(sample_tasks, num_tasks=tasks, support_size=support, query_size=query)
  return Recipe(make, sample, {"tasks": tasks, "support": support, "query": query})


def macaw_recipe(tasks: int, batch: int, width: int, **changes: Any) -> Recipe:
  """MACAW with three hidden layers of a width; `batch` transitions in each support and in each query."""
  make = partial(ALGORITHMS["macaw"], half_cheetah_problem(tasks), hidden_sizes=(width,) * 3, **changes)
  return sampled(make, tasks, batch, batch)


def updates_of_one(recipe: Recipe, data: Dataset, num_updates: int) -> Program:
  """Updates of one run, without an axis for members."""
  algorithm, key = recipe.make(), jax.random.key(0)
  state = initialise(algorithm, key)
  started = time.perf_counter()
  compiled: Any = compile_chunk(make_chunk(algorithm, recipe.sample, num_updates), state, data, key)
  seconds = time.perf_counter() - started
  return Program(repeated(lambda state: compiled(state, data, key), state), seconds, compiled)


def updates_of_population(
  recipe: Recipe, data: Dataset, num_updates: int, hyperparameters: Sequence[Mapping[str, float]]
) -> Program:
  """Updates of as many members as there are hyper-parameters, each with a seed of its own."""
  keys = jax.random.split(jax.random.key(0), len(hyperparameters))
  members = first_members(recipe.make, hyperparameters, keys)
  chunk = make_population_chunk(recipe.make, recipe.sample, num_updates, max_skips_in_a_row=MAX_SKIPS_IN_A_ROW)
  started = time.perf_counter()
  compiled: Any = compile_chunk(chunk, members, data, keys)
  seconds = time.perf_counter() - started
  return Program(repeated(lambda state: compiled(state, data, keys), members), seconds, compiled)


def first_members(make: MakeAlgorithm, hyperparameters: Sequence[Mapping[str, float]], keys: jax.Array) -> Population:
  """The members before their first update, all made in one program: hundreds are started in the time of one."""
  stacked = {name: jnp.asarray([values[name] for values in hyperparameters]) for name in hyperparameters[0]}
  state = jax.jit(jax.vmap(lambda values, key: initialise(make(**values), key)))(stacked, keys)
  skips = jax.tree.map(lambda leaf: jnp.zeros((len(keys),), leaf.dtype), no_skips())
  return Population(stacked, state, skips)
