"""Random tasks and transitions, without replacement, at a cost that does not grow with the dataset.

Everything is pure and belongs inside the compiled step. Datasets are on the device here, and have passed `check_sizes`:
a compiled function cannot raise.
"""

from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.types import Array, Key, TaskBatch, Transition

Order = Literal["uniform", "contiguous", "contiguous_support"]

# With 12 rounds a million draws of two show no bias from six rows on (2 % at five); with 8, pairs out of ten show 4 %.
_ROUNDS = 12


def check_sizes(dataset: Dataset, support_size: int, query_size: int) -> None:
  """Raises `ValueError` unless every task has rows for a disjoint support and query; names the first that has not."""
  _check_counts(support_size, query_size)
  needed, sizes = support_size + query_size, np.asarray(dataset.size)
  for task in np.flatnonzero(sizes < needed):
    raise ValueError(
      f"support_size {support_size} + query_size {query_size} needs {needed} transitions a task; "
      f"task {task} of the dataset has {sizes[task]}"
    )


def random_subset(key: Key, size: Array | int, count: int) -> Array:
  """`count` distinct indices in [0, size), in random order: `[count]` int32, in time O(count).

  The first `count` values of a pseudo-random permutation: a keyed Feistel network on pairs (l, r) of
  Z_a x Z_b with a, b near sqrt(size), walked along its cycle until it falls below `size` (Black and Rogaway,
  Ciphers with Arbitrary Finite Domains, 2002). a b exceeds `size` by at most a, so that few walk at all.

  Args:
    key: random key.
    size: at least `count`, at most 2^30; may be traced.
    count: static.
  """
  chex.assert_rank(size, 0)
  # No size below one may reach the loop, or a forgotten `check_sizes` would hang a compiled step.
  size = jnp.maximum(jnp.asarray(size, jnp.int32), 1)
  round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)
  num_left = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.uint32) + 1
  num_right = size.astype(jnp.uint32) // num_left + 1

  def permute(index: Array) -> Array:
    left, right = index % num_left, index // num_left
    for step in range(0, _ROUNDS, 2):
      left = (left + _hash(right, round_keys[step])) % num_left
      right = (right + _hash(left, round_keys[step + 1])) % num_right
    return left + num_left * right

  def advance(walk: tuple[Array, Array]) -> tuple[Array, Array]:
    index, walking = walk
    index = jnp.where(walking, permute(index), index)
    return index, index >= size.astype(jnp.uint32)

  # Starting below `size` makes sure that the cycle comes back there.
  start = jnp.minimum(jnp.arange(count, dtype=jnp.uint32), size.astype(jnp.uint32) - 1)
  index, _ = jax.lax.while_loop(lambda walk: jnp.any(walk[1]), advance, (start, jnp.ones((count,), bool)))
  return index.astype(jnp.int32)


def random_slice(key: Key, size: Array | int, count: int) -> Array:
  """`count` consecutive indices in [0, size), their start uniform: `[count]` int32."""
  return jax.random.randint(key, (), 0, size - count + 1) + jnp.arange(count)


def gather(dataset: Dataset, task_index: Array | int, rows: Array) -> Transition:
  """Rows of one task: `task_index` [] and `rows` [B] give transitions `[B, ...]`."""
  chex.assert_rank([task_index, rows], [0, 1])
  names = (name for name in Transition._fields if name not in ("final_observation", "mask"))
  return Transition(
    **{name: getattr(dataset, name)[task_index, rows] for name in names},
    final_observation=dataset.final_observation[task_index, dataset.episode_index[task_index, rows]],
  )


def sample_task(
  dataset: Dataset,
  task_index: Array | int,
  key: Key,
  *,
  support_size: int,
  query_size: int,
  order: Order = "uniform",
) -> tuple[Transition, Transition]:
  """Disjoint support `[support_size, ...]` and query `[query_size, ...]` of one task, without replacement.

  Args:
    dataset: arrays on the device.
    task_index: position of the task in the dataset; may be traced.
    key: random key.
    support_size: static.
    query_size: static.
    order: "uniform" draws rows independently; "contiguous" takes one slice of consecutive rows for each, as
      multi-step returns need; "contiguous_support" takes such a slice for the support and draws the query from the
      other rows, as the released MACAW code trains.

  Raises:
    ValueError: the sizes cannot fit in any task, or the order is unknown.
  """
  _check_counts(support_size, query_size)
  num_rows = dataset.reward.shape[1]
  if support_size + query_size > num_rows:
    raise ValueError(
      f"support_size {support_size} + query_size {query_size} exceeds the {num_rows} transitions of the longest task"
    )
  if order not in get_args(Order):
    raise ValueError(f"order: expected one of {get_args(Order)}, got {order!r}")
  size = dataset.size[task_index]
  if order == "uniform":
    rows = random_subset(key, size, support_size + query_size)
    support_rows, query_rows = rows[:support_size], rows[support_size:]
  elif order == "contiguous":
    # Two blocks among the free rows: shrink each block to one slot, choose two slots, and let the blocks grow again.
    key_support, key_query = jax.random.split(key)
    num_slots = size - support_size - query_size + 2
    support_slot = jax.random.randint(key_support, (), 0, num_slots)
    query_slot = jax.random.randint(key_query, (), 0, num_slots - 1)
    support_first = query_slot >= support_slot
    query_slot = query_slot + support_first
    support_start = jnp.where(support_first, support_slot, support_slot + query_size - 1)
    query_start = jnp.where(support_first, query_slot + support_size - 1, query_slot)
    support_rows = support_start + jnp.arange(support_size)
    query_rows = query_start + jnp.arange(query_size)
  else:
    key_support, key_query = jax.random.split(key)
    support_rows = random_slice(key_support, size, support_size)
    query_rows = random_subset(key_query, size - support_size, query_size)
    query_rows = jnp.where(query_rows < support_rows[0], query_rows, query_rows + support_size)
  return gather(dataset, task_index, support_rows), gather(dataset, task_index, query_rows)


def sample_tasks(
  dataset: Dataset,
  key: Key,
  *,
  num_tasks: int,
  support_size: int,
  query_size: int,
  order: Order = "uniform",
  repeated: bool = False,
) -> TaskBatch:
  """`num_tasks` distinct tasks with a support and a query each; all tasks, in their order, if that is their number.

  With `repeated`, each is drawn from all tasks, and one may be in a batch more than once, with rows of its own.

  Raises:
    ValueError: as `sample_task`, or `num_tasks` is not from 1 to the number of tasks, or below 1 with `repeated`.
  """
  available = dataset.size.shape[0]
  if num_tasks < 1 or (num_tasks > available and not repeated):
    raise ValueError(f"num_tasks: expected 1 to {available}, the tasks of the dataset, got {num_tasks}")
  key_tasks, key_rows = jax.random.split(key)
  if repeated:
    task_index = jax.random.randint(key_tasks, (num_tasks,), 0, available)
  elif num_tasks == available:
    task_index = jnp.arange(available, dtype=jnp.int32)
  else:
    task_index = jax.random.choice(key_tasks, available, (num_tasks,), replace=False)
  support, query = jax.vmap(
    lambda task, key: sample_task(dataset, task, key, support_size=support_size, query_size=query_size, order=order)
  )(task_index, jax.random.split(key_rows, num_tasks))
  return TaskBatch(support=support, query=query, task_index=task_index)


def _check_counts(support_size: int, query_size: int) -> None:
  for name, count in (("support_size", support_size), ("query_size", query_size)):
    if count < 1:
      raise ValueError(f"{name}: expected at least 1, got {count}")


def _hash(value: Array, key: Array) -> Array:
  """Keyed integer hash to 31 bits, one less than its type, so that a sum with a small number does not wrap."""
  value = value ^ key
  value = (value ^ (value >> 16)) * jnp.uint32(0x7FEB352D)
  value = (value ^ (value >> 15)) * jnp.uint32(0x846CA68B)
  return (value ^ (value >> 16)) >> 1
