from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_dataset import write_small

from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.sampling import check_sizes, gather, random_subset, sample_task, sample_tasks

ORDERS = ("uniform", "contiguous", "contiguous_support")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  directory = tmp_path_factory.mktemp("data") / "small"
  write_small(directory, [(5,) * 8, (3,) * 7, (5, 4, 5)])  # 40, 21 and 14 rows
  return jax.device_put(load_dataset(directory, tasks=(0, 1, 2)))


def rows_of(transitions):
  return np.asarray(transitions.observation[..., 0]).astype(int)


@partial(jax.jit, static_argnums=(1, 2))
def compiled_draws(size, count, repeats):
  keys = jax.random.split(jax.random.key(0), repeats)
  return jax.vmap(lambda key: random_subset(key, size, count))(keys)


def draws(size, count, repeats):
  return np.asarray(compiled_draws(jnp.int32(size), count, repeats))


def chi_square(observed):
  """Squared distance to equal counts, in units of its standard deviation from its mean."""
  expected, freedom = observed.mean(), observed.size - 1
  return (np.sum(np.square(observed - expected)) / expected - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [300, 301, 1000, 20_000, 65_537, 1_000_003, 2**24 + 3, 2**30])
def test_a_subset_is_distinct_and_within_size(size):
  for index in draws(size, 300, 5):
    assert index.dtype == np.int32
    assert len(np.unique(index)) == len(index)
    assert index.min() >= 0
    assert index.max() < size


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1001])
def test_a_whole_subset_is_a_permutation(size):
  for index in draws(size, size, 5):
    np.testing.assert_array_equal(np.sort(index), np.arange(size))


@pytest.mark.parametrize("size", [7, 10, 16, 50, 333])
def test_every_position_is_uniform(size):
  index = draws(size, 6, 40_000)
  for position in range(6):
    assert chi_square(np.bincount(index[:, position], minlength=size)) < 5


@pytest.mark.parametrize("size", [7, 10, 16, 50])
def test_pairs_are_uniform(size):
  index = draws(size, 6, 40_000)
  for first, second in ((0, 1), (0, 5), (2, 3)):
    pairs = np.zeros((size, size))
    np.add.at(pairs, (index[:, first], index[:, second]), 1)
    assert np.all(np.diagonal(pairs) == 0)
    assert chi_square(pairs[~np.eye(size, dtype=bool)]) < 5


def test_large_subsets_are_uniform_and_in_random_order():
  index = draws(20_000, 256, 2000)
  assert chi_square(np.bincount(index.ravel(), minlength=20_000)) < 5
  steps = np.diff(index, axis=1) % 20_000
  assert chi_square(np.bincount(steps.ravel() // 100, minlength=200)) < 5
  # Of 256 draws from 20000, the mean is 9999.5 with standard error sqrt(20000^2 / 12 / 256 (1 - 256 / 20000)) = 358.5.
  means = index.mean(axis=1)
  np.testing.assert_allclose(means.mean(), 9999.5, atol=5 * 358.5 / np.sqrt(2000))
  np.testing.assert_allclose(means.std(), 358.5, rtol=0.08)


def test_size_may_be_traced_and_differ_across_a_batch():
  sizes = jnp.array([30, 50, 1000])
  subsets = jax.jit(jax.vmap(lambda key, size: random_subset(key, size, 30)))
  index = subsets(jax.random.split(jax.random.key(1), 3), sizes)
  for row, size, key in zip(index, sizes, jax.random.split(jax.random.key(1), 3), strict=True):
    np.testing.assert_array_equal(row, jax.jit(random_subset, static_argnums=2)(key, size, 30))


@pytest.mark.parametrize("size", [-3, 0, 1, 4])
def test_a_size_below_the_count_still_returns(size):
  index = draws(size, 8, 1)
  assert np.all((index >= 0) & (index < max(size, 1)))


def test_gather_takes_whole_rows(dataset):
  rows = jnp.array([4, 0, 13])
  batch = gather(dataset, 2, rows)  # episodes of rows 0-4, 5-8, 9-13
  np.testing.assert_array_equal(batch.observation[:, 0], [4, 0, 13])
  np.testing.assert_array_equal(batch.observation[:, 1], 2)
  np.testing.assert_array_equal(batch.next_observation[:, 0], [1000, 1, 1002])
  np.testing.assert_array_equal(batch.final_observation[:, 0], [1000, 1000, 1002])
  np.testing.assert_array_equal(batch.last, [1, 0, 1])
  np.testing.assert_array_equal(batch.final_discount, [0.5, 0.5**5, 0.5])
  for name in ("action", "reward", "terminal", "mc_return"):
    np.testing.assert_array_equal(getattr(batch, name), getattr(dataset, name)[2, rows])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("support_size", "query_size"), [(5, 6), (1, 13)])
def test_support_and_query_are_disjoint_and_real(dataset, order, support_size, query_size):
  @jax.jit
  @jax.vmap
  def sample(key):
    return sample_tasks(dataset, key, num_tasks=3, support_size=support_size, query_size=query_size, order=order)

  batch = sample(jax.random.split(jax.random.key(2), 200))
  support, query = rows_of(batch.support), rows_of(batch.query)  # [200, 3, B]
  assert support.shape == (200, 3, support_size)
  assert query.shape == (200, 3, query_size)
  # All tasks are asked for, so that they come in their order.
  np.testing.assert_array_equal(batch.task_index, np.broadcast_to(np.arange(3), (200, 3)))
  both = np.sort(np.concatenate([support, query], axis=-1), axis=-1)
  assert np.all(np.diff(both, axis=-1) > 0)
  for task, size in enumerate((40, 21, 14)):
    # Between them the 200 batches hold every real row and none of the padding.
    np.testing.assert_array_equal(np.unique(both[:, task]), np.arange(size))
    np.testing.assert_array_equal(batch.support.observation[:, task, :, 1], task)
  if order != "uniform":
    assert np.all(np.diff(support, axis=-1) == 1)
  if order == "contiguous":
    assert np.all(np.diff(query, axis=-1) == 1)


def test_every_pair_of_slices_is_equally_likely(dataset):
  # Slices of 5 and 6 rows among 14: 3 free rows, hence (3 + 2) (3 + 1) = 20 placements.
  sample = jax.jit(jax.vmap(lambda key: sample_task(dataset, 2, key, support_size=5, query_size=6, order="contiguous")))
  support, query = sample(jax.random.split(jax.random.key(3), 20_000))
  _, counts = np.unique(rows_of(support)[:, 0] * 100 + rows_of(query)[:, 0], return_counts=True)
  assert len(counts) == 20
  assert chi_square(counts) < 5


def test_support_slices_and_the_rows_left_are_equally_likely(dataset):
  # Slices of 11 rows among 14 start at rows 0 to 3; the query is one of the 3 rows left.
  sample = jax.jit(
    jax.vmap(lambda key: sample_task(dataset, 2, key, support_size=11, query_size=1, order="contiguous_support"))
  )
  support, query = sample(jax.random.split(jax.random.key(4), 20_000))
  _, counts = np.unique(rows_of(support)[:, 0] * 100 + rows_of(query)[:, 0], return_counts=True)
  assert len(counts) == 12
  assert chi_square(counts) < 5


def test_uniform_support_and_query_are_uniform(dataset):
  sample = jax.jit(jax.vmap(lambda key: sample_task(dataset, 1, key, support_size=4, query_size=8)))
  support, query = sample(jax.random.split(jax.random.key(5), 10_000))
  # Rows of one draw exclude one another, so that these counts scatter less than independent ones: a one-sided test.
  assert chi_square(np.bincount(rows_of(support).ravel(), minlength=21)) < 5
  assert chi_square(np.bincount(rows_of(query).ravel(), minlength=21)) < 5


def test_the_same_key_gives_the_same_batch_compiled_or_not(dataset):
  def sample(dataset, key):
    return sample_tasks(dataset, key, num_tasks=2, support_size=4, query_size=5, order="contiguous_support")

  compiled = jax.jit(sample)
  batch = compiled(dataset, jax.random.key(6))
  chex.assert_trees_all_equal(batch, sample(dataset, jax.random.key(6)))
  chex.assert_trees_all_equal(batch, compiled(dataset, jax.random.key(6)))
  other = compiled(dataset, jax.random.key(7))
  assert not np.array_equal(rows_of(batch.query), rows_of(other.query))


def test_a_batch_is_traced_once_in_a_scan(dataset):
  @chex.assert_max_traces(n=1)
  def step(key, _):
    key, key_sample = jax.random.split(key)
    batch = sample_tasks(dataset, key_sample, num_tasks=2, support_size=4, query_size=5)
    return key, batch.task_index

  scan = jax.jit(lambda key: jax.lax.scan(step, key, length=50)[1])
  tasks = np.asarray(scan(jax.random.key(8)))
  assert tasks.dtype == np.int32
  assert np.all(tasks[:, 0] != tasks[:, 1])
  np.testing.assert_array_equal(np.unique(tasks), [0, 1, 2])


def test_task_subsets_are_uniform(dataset):
  sample = jax.jit(
    jax.vmap(lambda key: sample_tasks(dataset, key, num_tasks=2, support_size=1, query_size=1).task_index)
  )
  tasks = np.asarray(sample(jax.random.split(jax.random.key(10), 12_000)))
  _, counts = np.unique(tasks[:, 0] * 3 + tasks[:, 1], return_counts=True)
  assert len(counts) == 6
  assert chi_square(counts) < 5


def test_repeated_tasks_are_drawn_alike_and_have_rows_of_their_own(dataset):
  sample = jax.jit(
    jax.vmap(lambda key: sample_tasks(dataset, key, num_tasks=5, support_size=4, query_size=3, repeated=True))
  )
  batches = sample(jax.random.split(jax.random.key(11), 3_000))
  tasks = np.asarray(batches.task_index)  # five of three tasks
  _, counts = np.unique(tasks, return_counts=True)
  assert len(counts) == 3
  assert chi_square(counts) < 5
  same = tasks[:, 0] == tasks[:, 1]
  first, second = (np.asarray(batches.support.observation[same, index]) for index in (0, 1))
  assert np.mean(np.all(first == second, axis=(1, 2))) < 0.01


def test_sizes_that_cannot_fit_are_refused(dataset):
  check_sizes(dataset, 7, 7)
  with pytest.raises(ValueError, match=r"support_size 7 .*query_size 8 .*task 2 "):
    check_sizes(dataset, 7, 8)
  with pytest.raises(ValueError, match="query_size:"):
    check_sizes(dataset, 7, 0)

  def sample(**changes):
    arguments = {"num_tasks": 2, "support_size": 4, "query_size": 5} | changes
    return jax.eval_shape(lambda key: sample_tasks(dataset, key, **arguments), jax.random.key(0))

  for changes, message in [
    ({"support_size": 36}, "support_size 36 .* exceeds the 40 transitions of the longest task"),
    ({"support_size": 0}, "support_size: expected at least 1, got 0"),
    ({"num_tasks": 4}, "num_tasks: expected 1 to 3, the tasks of the dataset, got 4"),
    ({"num_tasks": 0}, "num_tasks: expected 1 to 3"),
    ({"order": "sorted"}, "order: expected one of"),
  ]:
    with pytest.raises(ValueError, match=message):
      sample(**changes)
