"""Replay memory of several tasks with exact hindsight relabelling.

A reward is a known function of task, state, action and next state, so a transition collected while acting for one
task is stored with its reward under every task, and can be read as an experience of any of them. Where tasks differ
in their physics, it cannot: then it is stored with its own reward alone, and read for its own task.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.types import Array, Key


class Experience(NamedTuple):
  """What a one-step value target reads of a transition, under one task."""

  observation: Array  # [..., O]
  action: Array  # [..., A]
  reward: Array  # [...]
  next_observation: Array  # [..., O]
  terminal: Array  # [...]  1.0 where the task ended the episode, else 0.0


class Replay(NamedTuple):
  """Transitions by the task they were collected for, in order of collection; rows from `size` on are empty."""

  observation: Array  # [T, C, O]
  action: Array  # [T, C, A]
  rewards: Array  # [T, C, R]  under every task, R = T, or under the task itself, R = 1
  next_observation: Array  # [T, C, O]
  terminal: Array  # [T, C]
  size: Array  # [T]  int32, rows filled


def empty_replay(num_tasks: int, capacity: int, observation_size: int, action_size: int, num_rewards: int) -> Replay:
  """A replay memory with room for `capacity` transitions of each task, and `num_rewards` R of each transition."""
  return Replay(
    observation=jnp.zeros((num_tasks, capacity, observation_size)),
    action=jnp.zeros((num_tasks, capacity, action_size)),
    rewards=jnp.zeros((num_tasks, capacity, num_rewards)),
    next_observation=jnp.zeros((num_tasks, capacity, observation_size)),
    terminal=jnp.zeros((num_tasks, capacity)),
    size=jnp.zeros(num_tasks, jnp.int32),
  )


def add_episodes(
  replay: Replay,
  task_index: Array,
  observation: Array,
  action: Array,
  rewards: Array,
  next_observation: Array,
  terminal: Array,
  valid: Array,
) -> Replay:
  """Appends one episode to each of `n` different tasks.

  Args:
    replay: memory to extend; a transition beyond its capacity is dropped.
    task_index: [n] the task that each episode was collected for, no task twice.
    observation: [n, H, O]
    action: [n, H, A]
    rewards: [n, H, R] reward under every task, or under its own.
    next_observation: [n, H, O]
    terminal: [n, H]
    valid: [n, H] one up to the end of the episode, zero afterwards; rows of zeros are left out.

  Returns:
    The extended memory.
  """
  capacity, num_rewards = replay.rewards.shape[1:]
  n, horizon = valid.shape
  chex.assert_shape([terminal, valid], (n, horizon))
  chex.assert_shape(rewards, (n, horizon, num_rewards))
  rows = replay.size[task_index][:, None] + jnp.cumsum(valid, axis=1).astype(jnp.int32) - 1  # [n, H]
  rows = jnp.where(valid > 0, rows, capacity)  # out of range: not written
  tasks = task_index[:, None]

  def append(stored: Array, new: Array) -> Array:
    return stored.at[tasks, rows].set(new.astype(stored.dtype), mode="drop")

  added = jnp.sum(valid > 0, axis=1, dtype=jnp.int32)
  return Replay(
    observation=append(replay.observation, observation),
    action=append(replay.action, action),
    rewards=append(replay.rewards, rewards),
    next_observation=append(replay.next_observation, next_observation),
    terminal=append(replay.terminal, terminal),
    size=jnp.minimum(replay.size.at[task_index].add(added), capacity),
  )


def clear(replay: Replay, task_index: Array) -> Replay:
  """The memory without the transitions of the tasks `[n]`; their rows are overwritten by what is added next."""
  return replay._replace(size=replay.size.at[task_index].set(0))


def sample_relabelled(replay: Replay, key: Key, *, batch_size: int, own_fraction: float) -> Experience:
  """An equal number of transitions for every task, some collected for it and some relabelled.

  The first `round(own_fraction batch_size)` rows of task i were collected for task i; the others were collected for
  tasks drawn uniformly. All of them carry the reward of task i.

  Args:
    replay: memory with at least one transition of each task.
    key: random key.
    batch_size: transitions for each task, B.
    own_fraction: share of rows collected for the task itself, in [0, 1]; 1 where rewards are stored for it alone.

  Returns:
    Experience with axes [T, B].

  Raises:
    ValueError: rows would be relabelled that carry no other task's reward.
  """
  key_source, key_row = jax.random.split(key)
  num_tasks = replay.size.shape[0]
  shape = (num_tasks, batch_size)
  own_only = replay.rewards.shape[-1] == 1
  if own_only and own_fraction != 1.0:
    raise ValueError(
      f"own_fraction is {own_fraction}; expected 1.0 where rewards are stored for a task's own data alone"
    )
  task = jnp.broadcast_to(jnp.arange(num_tasks)[:, None], shape)
  is_own = jnp.arange(batch_size) < round(own_fraction * batch_size)
  source = jnp.where(is_own, task, jax.random.randint(key_source, shape, 0, num_tasks))
  row = jax.random.randint(key_row, shape, 0, replay.size[source])
  return Experience(
    observation=replay.observation[source, row],
    action=replay.action[source, row],
    reward=replay.rewards[source, row, 0 if own_only else task],
    next_observation=replay.next_observation[source, row],
    terminal=replay.terminal[source, row],
  )
