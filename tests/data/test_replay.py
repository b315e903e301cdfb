import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.data.replay import add_episodes, empty_replay, sample_relabelled
from macaw_jax.types import Trajectory


@functools.cache
def filled():
  """Three tasks; every number of a transition says where it was collected: 100 task + row, 1000 i more under task i."""
  replay = empty_replay(3, 10, observation_size=1, action_size=1, num_rewards=3)
  # Task 2 gets two episodes, of 4 and 2 steps; task 0 one of 3, task 1 one of 4.
  for tasks, lengths in ((np.array([2, 0]), [4, 3]), (np.array([1, 2]), [4, 2])):
    number = 100.0 * tasks[:, None] + np.asarray(replay.size)[tasks][:, None] + np.arange(4.0)  # [n, H]
    replay = add_episodes(
      replay,
      jnp.asarray(tasks),
      Trajectory(
        observation=number[..., None],
        action=number[..., None] + 0.25,
        next_observation=number[..., None] + 1.0,
        mask=(np.arange(4) < np.array(lengths)[:, None]).astype(np.float32),
        reward=None,
        terminal=(number % 2 == 0).astype(np.float32),
      ),
      number[..., None] + 1000.0 * np.arange(3),
    )
  return replay


def test_episodes_are_appended_without_the_rows_after_their_end():
  replay = filled()
  np.testing.assert_array_equal(replay.size, [3, 4, 6])
  np.testing.assert_array_equal(replay.observation[0, :, 0], [0, 1, 2, 0, 0, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(replay.observation[1, :4, 0], [100, 101, 102, 103])
  np.testing.assert_array_equal(replay.observation[2, :, 0], [200, 201, 202, 203, 204, 205, 0, 0, 0, 0])
  np.testing.assert_array_equal(replay.rewards[2, 5], [205, 1205, 2205])


def test_rows_beyond_the_capacity_are_dropped():
  replay = filled()
  for _ in range(3):
    block = jnp.full((1, 4, 1), 7.0)
    ones = jnp.ones((1, 4))
    sevens = Trajectory(block, block, block, ones, reward=None, terminal=ones)
    replay = add_episodes(replay, jnp.array([0]), sevens, jnp.full((1, 4, 3), 7.0))
  np.testing.assert_array_equal(replay.size, [10, 4, 6])
  np.testing.assert_array_equal(replay.observation[0, :, 0], [0, 1, 2, 7, 7, 7, 7, 7, 7, 7])
  np.testing.assert_array_equal(replay.observation[1, :4, 0], [100, 101, 102, 103])


def test_every_sample_is_one_stored_transition_with_the_reward_of_the_task_it_is_read_for():
  batch = sample_relabelled(filled(), jax.random.key(0), batch_size=400, own_fraction=0.25)
  number = batch.observation[..., 0]  # [T, B]
  np.testing.assert_array_equal(batch.action[..., 0], number + 0.25)
  np.testing.assert_array_equal(batch.next_observation[..., 0], number + 1.0)
  np.testing.assert_array_equal(batch.terminal, (number % 2 == 0).astype(np.float32))
  np.testing.assert_array_equal(batch.reward, number + 1000.0 * np.arange(3)[:, None])
  for unknown in (batch.last, batch.mc_return, batch.final_observation, batch.final_discount):
    assert not np.any(unknown)
  source = np.asarray(number // 100, int)
  np.testing.assert_array_equal(source[:, :100], np.repeat(np.arange(3)[:, None], 100, axis=1))
  for task in range(3):
    # 300 draws from three tasks: 100 each, give or take five standard deviations of 8.
    assert np.abs(np.bincount(source[task, 100:], minlength=3) - 100).max() < 41
  # Every stored row is drawn, and no empty one: the rows of task 2 are 200 to 205.
  assert set(np.unique(number)) == {0, 1, 2, 100, 101, 102, 103, 200, 201, 202, 203, 204, 205}


def test_own_fraction_of_one_never_relabels():
  batch = sample_relabelled(filled(), jax.random.key(1), batch_size=50, own_fraction=1.0)
  np.testing.assert_array_equal(batch.observation[..., 0] // 100, np.repeat(np.arange(3.0)[:, None], 50, axis=1))


def test_rows_without_other_rewards_are_not_relabelled():
  replay = empty_replay(2, 4, observation_size=1, action_size=1, num_rewards=1)
  replay = add_episodes(
    replay,
    np.array([0, 1]),
    Trajectory(*[np.zeros((2, 1, 1))] * 3, mask=np.ones((2, 1)), reward=None, terminal=np.zeros((2, 1))),
    np.array([[[10.0]], [[20.0]]]),
  )
  sampled = sample_relabelled(replay, jax.random.key(0), batch_size=3, own_fraction=1.0)
  np.testing.assert_array_equal(sampled.reward, [[10.0] * 3, [20.0] * 3])
  with pytest.raises(ValueError, match="own_fraction"):
    sample_relabelled(replay, jax.random.key(0), batch_size=3, own_fraction=0.5)
