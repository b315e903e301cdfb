import numpy as np
import pytest

from macaw_jax.data.dataset import Episodes, dataset_of
from macaw_jax.evaluation.changed_rewards import reward_moments, with_rewards


def episodes(lengths, reward, terminal):
  num_rows, num_episodes = sum(lengths), len(lengths)
  return Episodes(
    observation=np.zeros((num_rows, 1), np.float32),
    action=np.zeros((num_rows, 1), np.float32),
    reward=np.asarray(reward, np.float32),
    episode_length=np.array(lengths, np.int32),
    final_observation=np.zeros((num_episodes, 1), np.float32),
    terminal=np.array(terminal),
    collected_at=np.zeros(num_episodes, np.int64),
  )


def two_tasks(reward=None, discount=0.5, skip=1):
  """Two tasks of unequal size, episodes that the task ended and that the time limit did."""
  first = episodes([3, 1, 2], np.arange(6.0) if reward is None else np.full(6, reward), [True, False, True])
  second = episodes([4], [10.0, 20.0, 30.0, 40.0] if reward is None else np.full(4, reward), [False])
  return dataset_of([first, second], discount, skip)


def test_the_moments_are_those_of_real_rows():
  values = [0, 1, 2, 3, 4, 5, 10, 20, 30, 40]
  assert reward_moments(two_tasks()) == pytest.approx((np.mean(values), np.std(values)))


@pytest.mark.parametrize("discount", [0.5, 0.99, 1.0])
def test_it_is_the_dataset_that_had_these_rewards(discount):
  changed = with_rewards(two_tasks(discount=discount), -2.5, discount)
  expected = two_tasks(reward=-2.5, discount=discount)
  for name, values in changed._asdict().items():
    np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("skip", [1, 3])
def test_the_same_rewards_are_the_same_dataset(skip):
  one_row = dataset_of([episodes([1, 1], [3.0, 4.0], [False, False])], 0.9, skip)
  for data in (one_row, two_tasks(discount=0.9)) if skip == 1 else (one_row,):
    again = with_rewards(data, data.reward, 0.9, skip)
    np.testing.assert_allclose(again.mc_return, data.mc_return, rtol=1e-6)
    np.testing.assert_array_equal(again.reward, data.reward)


def test_a_row_stands_for_those_that_were_left_out():
  kept = dataset_of([episodes([5], np.zeros(5), [False])], 1.0, skip=2)  # rows 0, 2, 4
  np.testing.assert_allclose(with_rewards(kept, 1.0, 1.0, skip=2).mc_return, [[5.0, 3.0, 1.0]])
  np.testing.assert_allclose(
    with_rewards(kept, np.array([[1.0, 10.0, 100.0]]), 1.0, skip=2).mc_return, [[122, 120, 100]]
  )
