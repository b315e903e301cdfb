"""A small problem, and batches of tasks for agents that read a context."""

import jax
import jax.numpy as jnp

from macaw_jax.types import Problem, TaskBatch, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=5, discount=0.9)
TASKS, ROWS = 3, 8
KEY = jax.random.key(0)


def transitions(key, *shape):
  keys = iter(jax.random.split(key, 5))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  zeros = jnp.zeros(shape)
  action = 0.9 * jnp.tanh(draw(2))
  return Transition(draw(3), action, draw(), draw(3), zeros, zeros, zeros, jnp.zeros((*shape, 3)), zeros)


def tasks(seed=1):
  """Support and query of three tasks, eight rows each."""
  key_support, key_query = jax.random.split(jax.random.key(seed))
  return TaskBatch(transitions(key_support, TASKS, ROWS), transitions(key_query, TASKS, ROWS), jnp.array([3, 0, 2]))


def one(tree, index=0):
  """A single task of a tree with a leading axis of tasks."""
  return jax.tree.map(lambda leaf: leaf[index], tree)
