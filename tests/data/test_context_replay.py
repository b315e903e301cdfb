"""Contexts come from one buffer, batches for the critic from the other; every number says where it was collected."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.context_replay import empty_context_replays, sample_context_batch, sample_rows
from macaw_jax.data.replay import add_episodes, clear
from macaw_jax.types import Trajectory


def add(replay, tasks, first, length):
  """Rows `first`, `first + 1`, ... of each task: the number 100 task + row in every field."""
  number = 100.0 * np.array(tasks)[:, None] + first + np.arange(length)
  block, ones = number[..., None], np.ones(number.shape)
  return add_episodes(
    replay, jnp.array(tasks), Trajectory(block, block, block + 1, ones, None, terminal=number % 2), block + 0.5
  )


def filled():
  """Two tasks: in the contexts rows 50 to 52, in the experience rows 0 to 9."""
  replays = empty_context_replays(2, 1, 1, context_capacity=6, capacity=10)
  return replays._replace(
    context=add(replays.context, [0, 1], 50, 3), experience=add(replays.experience, [1, 0], 0, 10)
  )


def test_contexts_and_batches_come_from_their_own_buffers_and_tasks():
  batch = sample_context_batch(filled(), jax.random.key(0), num_tasks=40, context_size=30, batch_size=60)
  tasks = np.asarray(batch.task_index)[:, None]
  assert set(tasks.flat) == {0, 1}
  for rows, size, expected in ((batch.support, 30, {50, 51, 52}), (batch.query, 60, set(range(10)))):
    number = np.asarray(rows.observation[..., 0])
    assert number.shape == (40, size)
    assert set((number - 100 * tasks).flat) == expected
    np.testing.assert_array_equal(rows.action[..., 0], number)
    np.testing.assert_array_equal(rows.reward, number + 0.5)
    np.testing.assert_array_equal(rows.next_observation[..., 0], number + 1)
    np.testing.assert_array_equal(rows.terminal, number % 2)
    for unknown in (rows.last, rows.mc_return, rows.final_observation, rows.final_discount):
      assert not np.any(unknown)


def test_a_task_that_is_drawn_twice_has_two_contexts():
  batch = sample_context_batch(filled(), jax.random.key(1), num_tasks=8, context_size=10, batch_size=10)
  contexts = np.asarray(batch.support.observation[..., 0]) - 100 * np.asarray(batch.task_index)[:, None]
  assert len({tuple(context) for context in contexts}) == 8


def test_rows_are_drawn_for_the_tasks_that_are_asked_for():
  rows = sample_rows(filled().experience, jnp.array([1, 1, 0]), jax.random.key(2), 5)
  np.testing.assert_array_equal(rows.reward // 100, np.repeat([[1], [1], [0]], 5, axis=1))


def test_cleared_tasks_begin_anew_and_others_stay():
  replay = add(clear(filled().context, jnp.array([1])), [1], 7, 2)
  np.testing.assert_array_equal(replay.size, [3, 2])
  rows = sample_rows(replay, jnp.array([0, 1]), jax.random.key(3), 50)
  assert set(np.asarray(rows.observation[0, :, 0])) == {50, 51, 52}
  assert set(np.asarray(rows.observation[1, :, 0])) == {107, 108}
