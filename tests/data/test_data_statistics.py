import chex
import jax
import numpy as np
import pytest
from small_dataset import write_small

from macaw_jax.data.dataset import Dataset, load_dataset
from macaw_jax.data.sampling import gather
from macaw_jax.data.statistics import (
  Statistics,
  fit_statistics,
  normalise,
  normalise_dataset,
  normalise_observation,
)


def dataset_of(observation, mc_return, size):
  """A dataset of one-step episodes of which statistics see only these fields."""
  observation, mc_return = np.array(observation, np.float32), np.array(mc_return, np.float32)
  ones = np.ones_like(mc_return)
  return Dataset(
    observation=observation,
    action=np.zeros((*mc_return.shape, 1), np.float32),
    reward=mc_return,
    next_observation=observation,
    terminal=0 * ones,
    last=ones,
    mc_return=mc_return,
    final_discount=ones,
    episode_index=np.broadcast_to(np.arange(mc_return.shape[1], dtype=np.int32), mc_return.shape),
    final_observation=observation,
    size=np.array(size, np.int32),
  )


def test_statistics_by_hand():
  # Real rows are 1, 3 of task 0 and 5, 7, 9 of task 1; the padding of task 0 is far off and must not count.
  dataset = dataset_of(
    observation=[[[1, 2], [3, 2], [999, 999]], [[5, 2], [7, 2], [9, 2]]],
    mc_return=[[1, -2, 999], [2, 4, 0]],
    size=[2, 3],
  )
  statistics = fit_statistics(dataset)
  np.testing.assert_allclose(statistics.observation_mean, [5.0, 2.0])  # 25 / 5
  np.testing.assert_allclose(statistics.observation_std, [np.sqrt(8.0), 0.01], rtol=1e-6)  # (16 + 4 + 0 + 4 + 16) / 5
  np.testing.assert_allclose(statistics.return_scale, np.sqrt(5.0), rtol=1e-6)  # (1 + 4 + 4 + 16 + 0) / 5
  assert [leaf.dtype for leaf in statistics] == [np.float32] * 3


def test_statistics_survive_large_offsets():
  # In float32 sums these deviations of one would be lost: float32 steps are 0.0625 wide at a million.
  rows = 1e6 + np.where(np.arange(4000) % 2, 1.0, -1.0)
  statistics = fit_statistics(dataset_of(rows[None, :, None], rows[None], [4000]))
  np.testing.assert_allclose(statistics.observation_mean, [1e6])
  np.testing.assert_allclose(statistics.observation_std, [1.0], rtol=1e-6)
  np.testing.assert_allclose(statistics.return_scale, 1e6, rtol=1e-6)


def test_data_without_reward_have_scale_one():
  statistics = fit_statistics(dataset_of([[[1], [2]]], [[0, 0]], [2]))
  assert statistics.return_scale == 1.0


STATISTICS = Statistics(
  observation_mean=np.array([1.0, 2.0, 3.0], np.float32),
  observation_std=np.array([2.0, 4.0, 0.5], np.float32),
  return_scale=np.array(10.0, np.float32),
)


def test_normalised_observation_by_hand():
  observation = np.array([[3.0, 2.0, 2.0], [1.0, -2.0, 3.0]], np.float32)
  np.testing.assert_allclose(normalise_observation(STATISTICS, observation), [[1.0, 0.0, -2.0], [0.0, -1.0, 0.0]])


def test_normalised_transitions_by_hand(tmp_path):
  write_small(tmp_path / "small")
  rows = gather(load_dataset(tmp_path / "small", tasks=(0,)), 0, np.array([0, 3, 8]))
  scaled = normalise(STATISTICS, rows)
  for name in ("observation", "next_observation", "final_observation"):
    expected = (getattr(rows, name) - [1.0, 2.0, 3.0]) / [2.0, 4.0, 0.5]
    np.testing.assert_allclose(getattr(scaled, name), expected, rtol=1e-6)
  for name in ("reward", "mc_return"):
    np.testing.assert_allclose(getattr(scaled, name), getattr(rows, name) / 10.0, rtol=1e-6)
  for name in ("action", "terminal", "last", "final_discount"):
    np.testing.assert_array_equal(getattr(scaled, name), getattr(rows, name))


def test_normalising_a_dataset_is_normalising_its_rows_compiled_or_not(tmp_path):
  write_small(tmp_path / "small")
  dataset = load_dataset(tmp_path / "small", tasks=(0, 1, 2))
  rows = np.arange(15)
  expected = normalise(STATISTICS, gather(dataset, 2, rows))
  on_host = normalise_dataset(STATISTICS, dataset)
  assert all(isinstance(leaf, np.ndarray) and leaf.dtype in (np.float32, np.int32) for leaf in on_host)
  compiled = jax.jit(normalise_dataset)(STATISTICS, dataset)
  for scaled in (on_host, compiled):
    chex.assert_trees_all_close(gather(scaled, 2, rows), expected, rtol=1e-6, atol=1e-6)


def test_scaled_returns_have_mean_square_one(tmp_path):
  write_small(tmp_path / "small", [(5, 4, 5), (5, 4, 5)])
  dataset = load_dataset(tmp_path / "small", tasks=(0, 1))
  scaled = normalise_dataset(fit_statistics(dataset), dataset)
  np.testing.assert_allclose(np.mean(np.square(scaled.mc_return)), 1.0, rtol=1e-5)
  np.testing.assert_allclose(scaled.observation[..., 0].std(), 1.0, rtol=1e-5)


def test_observations_of_another_size_are_refused():
  with pytest.raises(AssertionError):
    normalise_observation(STATISTICS, np.zeros((4, 1), np.float32))
