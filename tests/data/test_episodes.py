import jax
import numpy as np
import pytest

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.episodes import join_episodes, one_episode, thin_episodes
from macaw_jax.types import Trajectory


def test_an_episode_is_stored_up_to_its_end_with_what_it_ended_in():
  number = np.arange(6, dtype=np.float32).reshape(2, 3)  # 10 n + 1 follows on 10 n
  trajectory = Trajectory(
    observation=10 * number[..., None],
    action=number[..., None] / 10,
    next_observation=10 * number[..., None] + 1,
    mask=np.float32([[1, 1, 0], [1, 1, 1]]),
    reward=number,
    terminal=np.float32([[0, 1, 0], [0, 0, 0]]),
    state=np.zeros((2, 4)),
  )
  short, whole = (one_episode(trajectory, index, collected_at=7 + index) for index in range(2))
  np.testing.assert_array_equal(short.observation[:, 0], [0, 10])
  np.testing.assert_array_equal(short.final_observation, [[11]])
  np.testing.assert_array_equal(whole.final_observation, [[51]])
  joined = join_episodes([short, whole])
  np.testing.assert_array_equal(joined.reward, [0, 1, 3, 4, 5])
  np.testing.assert_array_equal(joined.episode_length, [2, 3])
  np.testing.assert_array_equal(joined.terminal, [True, False])
  np.testing.assert_array_equal(joined.collected_at, [7, 8])


def five_episodes():
  """Episodes of lengths 1 to 5; an observation is the number of its episode."""
  length = np.arange(1, 6, dtype=np.int32)
  number = np.repeat(np.arange(5, dtype=np.float32), length)
  return Episodes(
    observation=number[:, None],
    action=number[:, None] / 10,
    reward=number,
    episode_length=length,
    final_observation=np.arange(5, dtype=np.float32)[:, None],
    terminal=np.array([False, True, False, True, False]),
    collected_at=np.arange(5, dtype=np.int64) * 100,
  )


def test_thinning_keeps_whole_episodes_evenly_from_first_to_last():
  thinned = thin_episodes(five_episodes(), 3)
  np.testing.assert_array_equal(thinned.observation[:, 0], [0, 2, 2, 2, 4, 4, 4, 4, 4])
  np.testing.assert_array_equal(thinned.reward, thinned.observation[:, 0])
  np.testing.assert_array_equal(thinned.episode_length, [1, 3, 5])
  np.testing.assert_array_equal(thinned.final_observation[:, 0], [0, 2, 4])
  np.testing.assert_array_equal(thinned.terminal, [False, False, False])
  np.testing.assert_array_equal(thinned.collected_at, [0, 200, 400])
  jax.tree.map(np.testing.assert_array_equal, thin_episodes(five_episodes(), 5), five_episodes())


@pytest.mark.parametrize("count", [0, 6])
def test_thinning_to_a_count_that_there_is_not_fails(count):
  with pytest.raises(ValueError, match="expected a count from 1 to 5"):
    thin_episodes(five_episodes(), count)
