"""Data of the half-cheetah's sizes, for benchmarks whose cost does not depend on the values."""

import jax
import jax.numpy as jnp

from macaw_jax.data.dataset import Dataset
from macaw_jax.types import Array, Problem

OBSERVATION_SIZE, ACTION_SIZE, EPISODE_STEPS, DISCOUNT = 20, 6, 200, 0.99


def half_cheetah_problem(num_tasks: int) -> Problem:
  """The sizes of `random_dataset`."""
  return Problem(OBSERVATION_SIZE, ACTION_SIZE, num_tasks, DISCOUNT)


def random_dataset(num_tasks: int, num_rows: int) -> Dataset:
  """`num_rows` standard normal transitions of each task, on the device, in episodes of 200 steps."""
  keys = iter(jax.random.split(jax.random.key(0), 6))

  def draw(*shape: int) -> Array:
    return jax.random.normal(next(keys), (num_tasks, *shape))

  episode_index = jnp.arange(num_rows) // EPISODE_STEPS
  zeros = jnp.zeros((num_tasks, num_rows))
  return Dataset(
    observation=draw(num_rows, OBSERVATION_SIZE),
    action=jnp.tanh(draw(num_rows, ACTION_SIZE)),
    reward=draw(num_rows),
    next_observation=draw(num_rows, OBSERVATION_SIZE),
    terminal=zeros,
    last=zeros,
    mc_return=draw(num_rows),
    final_observation=draw(num_rows // EPISODE_STEPS + 1, OBSERVATION_SIZE),
    episode_index=jnp.broadcast_to(episode_index, (num_tasks, num_rows)).astype(jnp.int32),
    final_discount=jnp.full((num_tasks, num_rows), 0.5),
    size=jnp.full((num_tasks,), num_rows, jnp.int32),
  )
