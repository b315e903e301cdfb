"""Replay buffer of several tasks with exact hindsight relabelling.

A reward is a known function of task, state, action and next state, so a transition collected while acting for one
task is stored with its reward under every task, and can be read as an experience of any of them. Where tasks differ
in their physics, it cannot: then it is stored with its own reward alone, and read for its own task.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.types import Array, Key, Trajectory, Transition


class Replay(NamedTuple):
  """Transitions by the task they were collected for, in order of collection; rows from `size` on are empty."""

  observation: Array  # [T, C, O]
  action: Array  # [T, C, A]
  rewards: Array  # [T, C, R]  under every task, R = T, or under the task itself, R = 1
  next_observation: Array  # [T, C, O]
  terminal: Array  # [T, C]
  size: Array  # [T]  int32, rows filled


def empty_replay(num_tasks: int, capacity: int, observation_size: int, action_size: int, num_rewards: int) -> Replay:
  """A replay buffer with room for `capacity` transitions of each task, and `num_rewards` R of each transition."""
  return Replay(
    observation=jnp.zeros((num_tasks, capacity, observation_size)),
    action=jnp.zeros((num_tasks, capacity, action_size)),
    rewards=jnp.zeros((num_tasks, capacity, num_rewards)),
    next_observation=jnp.zeros((num_tasks, capacity, observation_size)),
    terminal=jnp.zeros((num_tasks, capacity)),
    size=jnp.zeros(num_tasks, jnp.int32),
  )


def add_episodes(replay: Replay, task_index: Array, trajectory: Trajectory, rewards: Array) -> Replay:
  """The buffer with one episode more of each of `n` different tasks; steps after its end are left out.

  Args:
    replay: buffer to extend; a transition beyond its capacity is dropped.
    task_index: [n] the task that each episode was collected for, no task twice.
    trajectory: the episodes, [n, H].
    rewards: [n, H, R] reward under every task, or under its own.
  """
  capacity, num_rewards = replay.rewards.shape[1:]
  mask = trajectory.mask
  chex.assert_shape(rewards, (*mask.shape, num_rewards))
  chex.assert_equal_shape([trajectory.terminal, mask])
  rows = replay.size[task_index][:, None] + jnp.cumsum(mask, axis=1).astype(jnp.int32) - 1  # [n, H]
  rows = jnp.where(mask > 0, rows, capacity)  # out of range: not written
  tasks = task_index[:, None]

  def append(name: str, new: Array) -> Array:
    stored = getattr(replay, name)
    return stored.at[tasks, rows].set(new.astype(stored.dtype), mode="drop")

  names = ("observation", "action", "next_observation", "terminal")
  added = jnp.sum(mask > 0, axis=1, dtype=jnp.int32)
  return Replay(
    **{name: append(name, getattr(trajectory, name)) for name in names},
    rewards=append("rewards", rewards),
    size=jnp.minimum(replay.size.at[task_index].add(added), capacity),
  )


def clear(replay: Replay, task_index: Array) -> Replay:
  """The buffer without the transitions of the tasks `[n]`; their rows are overwritten by what is added next."""
  return replay._replace(size=replay.size.at[task_index].set(0))


def read_rows(replay: Replay, task_index: Array, rows: Array, reward_index: Array | int) -> Transition:
  """The transitions in `rows` of tasks, and of each the reward `reward_index`; arguments broadcast to `[n, B]`.

  Fields that only a finished episode gives (`last`, `mc_return`, `final_observation`, `final_discount`) are zero: a
  buffer of single transitions does not know them, so losses that read them have no place here.
  """
  observation, reward = replay.observation[task_index, rows], replay.rewards[task_index, rows, reward_index]
  zeros = jnp.zeros_like(reward)
  return Transition(
    observation=observation,
    action=replay.action[task_index, rows],
    reward=reward,
    next_observation=replay.next_observation[task_index, rows],
    terminal=replay.terminal[task_index, rows],
    last=zeros,
    mc_return=zeros,
    final_observation=jnp.zeros_like(observation),
    final_discount=zeros,
  )


def sample_relabelled(replay: Replay, key: Key, *, batch_size: int, own_fraction: float) -> Transition:
  """An equal number of transitions for every task, some collected for it and some relabelled: `[T, B, ...]`.

  The first `round(own_fraction batch_size)` rows of task i were collected for task i; the others were collected for
  tasks drawn uniformly. All of them carry the reward of task i. See `read_rows`.

  Args:
    replay: buffer with at least one transition of each task.
    key: random key.
    batch_size: transitions for each task, B.
    own_fraction: share of rows collected for the task itself, in [0, 1]; 1 where rewards are stored for it alone.

  Raises:
    ValueError: rows would be relabelled that carry no other task's reward.
  """
  key_source, key_row = jax.random.split(key)
  num_tasks = replay.size.shape[0]
  shape = (num_tasks, batch_size)
  own_only = replay.rewards.shape[-1] == 1
  if own_only and own_fraction != 1.0:
    raise ValueError(f"own_fraction is {own_fraction}; expected 1.0 where only a task's own rewards are stored")
  task = jnp.broadcast_to(jnp.arange(num_tasks)[:, None], shape)
  is_own = jnp.arange(batch_size) < round(own_fraction * batch_size)
  source = jnp.where(is_own, task, jax.random.randint(key_source, shape, 0, num_tasks))
  rows = jax.random.randint(key_row, shape, 0, replay.size[source])
  return read_rows(replay, source, rows, 0 if own_only else task)
