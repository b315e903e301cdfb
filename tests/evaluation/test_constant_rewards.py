import numpy as np
import pytest

from macaw_jax.data.dataset import Episodes, dataset_of
from macaw_jax.evaluation.constant_rewards import mean_reward, with_constant_rewards


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


def test_the_mean_is_that_of_real_rows():
  assert mean_reward(two_tasks()) == pytest.approx((15.0 + 100.0) / 10)


@pytest.mark.parametrize("discount", [0.5, 0.99, 1.0])
def test_it_is_the_dataset_that_had_these_rewards(discount):
  constant = with_constant_rewards(two_tasks(discount=discount), -2.5, discount)
  expected = two_tasks(reward=-2.5, discount=discount)
  for name, values in constant._asdict().items():
    np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-6, err_msg=name)


def test_skipped_rows_count_in_the_steps_left():
  kept = dataset_of([episodes([5], np.zeros(5), [False])], 1.0, skip=2)  # rows 0, 2, 4
  np.testing.assert_allclose(with_constant_rewards(kept, 1.0, 1.0, skip=2).mc_return, [[5.0, 3.0, 1.0]])
