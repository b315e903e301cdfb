"""Whether tasks can be told apart where their policies overlap, before anything is meta-trained.

Where the policies of two tasks never come to the same states, no data say what one task pays for what the other does,
and an agent that is given the one's data by the other's policy cannot know which task it is in. Where they overlap, the
outcomes there must differ. Both are read off the model that retrieval uses (`macaw_jax.data.reward_model`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Episodes, dataset_of
from macaw_jax.data.reward_model import Read, Rows, fit_reward_model, separation
from macaw_jax.data.sampling import random_subset
from macaw_jax.types import Array, Key

NUM_ROWS = 256  # of each task
ENOUGH = 3.0  # nats: one task is 20 times as likely as the other


class Overlap(NamedTuple):
  """What `NUM_ROWS` rows of task i say about task j, [T, T]; the diagonal says nothing."""

  shared: np.ndarray  # share of the rows that the data of task j cover
  evidence: np.ndarray  # nats against task j in these

  @property
  def told_apart(self) -> np.ndarray:
    """Whether rows of one of two tasks rule out the other, in both directions: of each pair, [T (T - 1) / 2]."""
    return (np.minimum(self.evidence, self.evidence.T) >= ENOUGH)[np.triu_indices(len(self.evidence), 1)]

  @property
  def least(self) -> tuple[int, int]:
    """The pair of tasks that the least evidence tells apart."""
    evidence = np.minimum(self.evidence, self.evidence.T) + np.diag(np.full(len(self.evidence), np.inf))
    first, second = np.unravel_index(int(np.argmin(evidence)), evidence.shape)
    return int(min(first, second)), int(max(first, second))


def measure_overlap(episodes_by_task: Sequence[Episodes], read: Read, *, seed: int = 0) -> Overlap:
  """Fits the model to all tasks, and compares each with the others on rows of its own.

  Args:
    episodes_by_task: two tasks or more, all values finite.
    read: what tells tasks apart, a value of `reward_model.READ`.
    seed: decides the fit and the rows; the same seed gives the same numbers.

  Raises:
    ValueError: there is one task, or a value is not finite.
  """
  dataset = dataset_of(episodes_by_task, discount=1.0)
  rows = jax.tree.map(np.asarray, read(dataset))
  for task, size in enumerate(dataset.size):
    if not all(np.isfinite(values[task, :size]).all() for values in rows):
      raise ValueError(f"task {task}: expected finite values")
  key_model, key_rows = jax.random.split(jax.random.key(seed))
  model = fit_reward_model(dataset, read, key_model)
  count = min(NUM_ROWS, int(np.min(dataset.size)))

  def compare(task: Array, of_task: Rows, size: Array, key: Key) -> tuple[Array, Array]:
    drawn = random_subset(key, size, count)
    return separation(model, jax.tree.map(lambda values: values[drawn], of_task), task)

  keys = jax.random.split(key_rows, len(dataset.size))
  tasks = jnp.arange(len(dataset.size))
  shared, evidence = jax.lax.map(lambda task: compare(*task), (tasks, rows, dataset.size, keys))
  return Overlap(np.asarray(shared, np.float64), np.asarray(evidence, np.float64))
