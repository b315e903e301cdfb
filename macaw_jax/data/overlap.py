"""Whether tasks can be told apart where their policies overlap, before anything is meta-trained.

Where the policies of two tasks never come to the same states, no data say what one task pays for what the other does,
and an agent that is given the one's data by the other's policy cannot know which task it is in. Where they overlap, the
outcomes there must differ. Both are read off the model that retrieval uses (`macaw_jax.data.reward_model`), fitted to
every second episode of each task and to the others as if they were of two tasks. Two halves of one task differ by the
errors of the model alone; two tasks are told apart where they differ by more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Episodes, dataset_of, take_episodes
from macaw_jax.data.reward_model import Read, Rows, fit_reward_model, separation
from macaw_jax.data.sampling import random_subset
from macaw_jax.types import Array, Key

NUM_ROWS = 256  # of each task
ENOUGH = 3.0  # nats: one task is 20 times as likely as the other
TIMES = 3.0  # the difference between two halves of a task's data


class Overlap(NamedTuple):
  """How `NUM_ROWS` rows of one half of task i compare with the other half of task j, [T, T]."""

  shared: np.ndarray  # share of the rows that the data of task j cover
  evidence: np.ndarray  # nats against task j in these; against task i itself on the diagonal

  @property
  def told_apart(self) -> np.ndarray:
    """Whether rows of one of two tasks rule out the other, in both directions: of each pair, [T (T - 1) / 2]."""
    one_way = self.evidence >= np.maximum(ENOUGH, TIMES * np.diag(self.evidence)[:, None])
    return (one_way & one_way.T)[np.triu_indices(len(one_way), 1)]

  @property
  def least(self) -> tuple[int, int]:
    """The pair of tasks that the least evidence tells apart."""
    evidence = np.minimum(self.evidence, self.evidence.T) + np.diag(np.full(len(self.evidence), np.inf))
    first, second = np.unravel_index(int(np.argmin(evidence)), evidence.shape)
    return int(min(first, second)), int(max(first, second))


def measure_overlap(episodes_by_task: Sequence[Episodes], read: Read, *, seed: int = 0) -> Overlap:
  """Fits the model to the halves of all tasks, and compares each with the others on rows of its own.

  Args:
    episodes_by_task: two tasks or more, each of two episodes or more, all values finite.
    read: what tells tasks apart, a value of `reward_model.READ`.
    seed: decides the fit and the rows; the same seed gives the same numbers.

  Raises:
    ValueError: there are fewer tasks or episodes, or a value is not finite.
  """
  num_tasks = len(episodes_by_task)
  if num_tasks < 2:
    raise ValueError(f"expected two tasks or more to tell apart, got {num_tasks}")
  for task, episodes in enumerate(episodes_by_task):
    if len(episodes.episode_length) < 2:
      raise ValueError(f"task {task}: expected two episodes or more, got 1")
  halves = [
    take_episodes(episodes, np.arange(first, len(episodes.episode_length), 2))
    for first in (0, 1)
    for episodes in episodes_by_task
  ]
  dataset = dataset_of(halves, discount=1.0)
  rows = jax.tree.map(np.asarray, read(dataset))
  for half, size in enumerate(dataset.size):
    if not all(np.isfinite(values[half, :size]).all() for values in rows):
      raise ValueError(f"task {half % num_tasks}: expected finite values")
  key_model, key_rows = jax.random.split(jax.random.key(seed))
  model = fit_reward_model(dataset, read, key_model)
  count = min(NUM_ROWS, int(np.min(dataset.size)))

  def compare(task: Array, of_task: Rows, size: Array, key: Key) -> tuple[Array, Array]:
    drawn = random_subset(key, size, count)
    return separation(model, jax.tree.map(lambda values: values[drawn], of_task), task)

  first_halves = jax.tree.map(lambda leaf: leaf[:num_tasks], (rows, dataset.size))
  tasks = (jnp.arange(num_tasks), *first_halves, jax.random.split(key_rows, num_tasks))
  shared, evidence = (np.asarray(found, np.float64) for found in jax.lax.map(lambda task: compare(*task), tasks))
  return Overlap(shared[:, num_tasks:], evidence[:, num_tasks:])
