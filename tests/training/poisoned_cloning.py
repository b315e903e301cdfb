"""Populations of linear cloning on data with numbers that are not, and the same in a loop of plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
from linear_cloning import linear_cloning, make_dataset, sample

from macaw_jax.training.loop import compile_chunk, draw, initialise, train
from macaw_jax.training.non_finite import compile_with_skips
from macaw_jax.training.population import make_population, stack

WELL, LOUD = {"learning_rate": 0.05}, {"learning_rate": 0.2}
DIVERGES = {"learning_rate": np.inf}


def cloning(learning_rate=0.05):
  return linear_cloning(learning_rate=learning_rate)


def poisoned(rows):
  """The data with an action that is not a number in some rows of a task: a draw of eight rows may have one of them."""
  dataset = make_dataset()
  dataset.action[1, rows, 0] = np.nan
  return dataset


def run(
  members, keys, dataset, num_steps, steps_per_chunk, *, most=10, begin=None, compiles=compile_chunk, make=cloning
):
  """Trains; returns the last population, all rows of metrics, and its members after each chunk."""
  states, skips = begin or ([initialise(make(**values), key) for values, key in zip(members, keys, strict=True)], None)
  population, keys = make_population(members, states, skips), stack(keys)
  chunk = compile_with_skips(make, sample, steps_per_chunk, most, compiles, population, dataset, keys)
  rows, kept = [], []
  for newest, metrics in train(chunk, population, dataset, keys, num_steps):
    population = jax.device_get(newest)
    rows.append(jax.device_get(metrics))
    kept.append(population)
  return population, rows, kept


def reference(values, key, dataset, num_steps, most=10):
  """The same in a loop of Python, one update at a time: the state, the steps whose update was skipped, the losses."""
  algorithm = cloning(**values)
  state, skipped, in_a_row, losses = initialise(algorithm, key), [], 0, []
  update = jax.jit(algorithm.update)
  for step in range(num_steps):
    tasks, key_update = draw(sample, dataset, key, jnp.int32(step))
    updated, metrics = update(state, tasks, key_update)
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((updated, metrics)))
    losses.append(float(metrics["policy_loss"]) if finite else np.nan)
    if finite:
      state, in_a_row = updated, 0
    else:
      state, in_a_row = state._replace(step=state.step + 1), in_a_row + 1
      skipped.append(step)
    if in_a_row == most:
      break
  return state, skipped, np.array(losses)
