"""A small problem, and batches of tasks for agents that act in order to learn."""

import jax
import jax.numpy as jnp

from macaw_jax.types import Problem, TaskBatch, Trajectory

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
# More steps than a baseline has features: it does not explain every return.
TASKS, EPISODES, HORIZON = 3, 5, 6
ENDS = (6, 3, 6, 1, 5)  # steps of each episode


def episodes(key, *shape):
  """A trajectory `[..., E, H, ...]` of random numbers; past their end, everything but the rewards still is one."""
  shape = (*shape, EPISODES, HORIZON)
  keys = iter(jax.random.split(key, 4))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  mask = jnp.broadcast_to((jnp.arange(HORIZON) < jnp.array(ENDS)[:, None]).astype(float), shape)
  return Trajectory(draw(3), draw(2), draw(3), mask, draw() * mask)


def told(batch, places, num_tasks):
  """The batch with observations that end with the place of each task among `num_tasks`, one-hot."""
  shown = jnp.eye(num_tasks)[jnp.asarray(places)]  # [T, N]

  def beside(episodes):
    def each(observation):
      entries = shown.reshape(len(shown), *[1] * (observation.ndim - 2), num_tasks)
      entries = jnp.broadcast_to(entries, (*observation.shape[:-1], num_tasks)) * episodes.mask[..., None]
      return jnp.concatenate([observation, entries], axis=-1)

    return episodes._replace(observation=each(episodes.observation), next_observation=each(episodes.next_observation))

  return batch._replace(support=beside(batch.support), query=beside(batch.query))


def tasks(seed=1, *, sets=1, rewards_in_support=True):
  """Support, of `sets` sets of episodes, and query of three tasks."""
  key_support, key_query = jax.random.split(jax.random.key(seed))
  support = episodes(key_support, TASKS, sets)
  if not rewards_in_support:
    support = support._replace(reward=None)
  return TaskBatch(support, episodes(key_query, TASKS), jnp.arange(TASKS))
