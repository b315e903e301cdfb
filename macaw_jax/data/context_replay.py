"""Two replay buffers for agents that infer a task from a context of transitions and collect their own data (PEARL).

Contexts come from recent transitions, gathered much as an agent gathers them in a new task; the critic learns from all.
The context buffer E is cleared for a task whenever that task is collected for; the experience buffer D grows. Their
rewards differ where the context sees a sparse reward and the critic learns from a dense one.

Source: Rakelly et al. 2019 (PEARL), section 4.3 and its released code.
"""

from typing import NamedTuple

import jax

from macaw_jax.data.replay import Replay, empty_replay, read_rows
from macaw_jax.types import Array, Key, TaskBatch, Transition


class ContextReplays(NamedTuple):
  """Transitions of T tasks, scaled as the run scales its data; one reward a transition, R = 1."""

  context: Replay  # E: recent transitions, with the reward that the context sees
  experience: Replay  # D: all transitions, with the reward that the critic learns from


def empty_context_replays(
  num_tasks: int, observation_size: int, action_size: int, *, context_capacity: int, capacity: int
) -> ContextReplays:
  """Buffers with room for so many transitions of each task, of contexts and of experience."""
  return ContextReplays(
    context=empty_replay(num_tasks, context_capacity, observation_size, action_size, num_rewards=1),
    experience=empty_replay(num_tasks, capacity, observation_size, action_size, num_rewards=1),
  )


def sample_context_batch(
  replays: ContextReplays,
  key: Key,
  *,
  num_tasks: int,
  context_size: int,
  batch_size: int,
  repeated: bool = True,
) -> TaskBatch:
  """Contexts of `context_size` C rows and batches of `batch_size` B rows for the critic, of `num_tasks` T tasks.

  Tasks are drawn with replacement, unless they are not `repeated`, and their rows always; a task that comes twice has
  two contexts. Both buffers must hold transitions of each task.

  Returns:
    `support` [T, C] from the context buffer, `query` [T, B] from the experience buffer; see `read_rows`.
  """
  key_task, key_context, key_batch = jax.random.split(key, 3)
  known = replays.experience.size.shape[0]
  if repeated:
    task_index = jax.random.randint(key_task, (num_tasks,), 0, known)
  else:
    task_index = jax.random.permutation(key_task, known)[:num_tasks]
  return TaskBatch(
    support=sample_rows(replays.context, task_index, key_context, context_size),
    query=sample_rows(replays.experience, task_index, key_batch, batch_size),
    task_index=task_index,
  )


def sample_rows(replay: Replay, task_index: Array, key: Key, num_rows: int) -> Transition:
  """`num_rows` transitions of each of the tasks `[n]`, drawn uniformly and with replacement: `[n, num_rows, ...]`."""
  tasks = task_index[:, None]
  rows = jax.random.randint(key, (len(task_index), num_rows), 0, replay.size[tasks])
  return read_rows(replay, tasks, rows, 0)
