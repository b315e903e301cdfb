"""How training tasks explain supports of others, whoever collected them: retrieval tried before any training."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.calibration import DEVIATIONS, predictive
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.retrieval import Reference, explain
from macaw_jax.data.reward_model import Read, Rows
from macaw_jax.data.sampling import gather, random_subset
from macaw_jax.types import Array, Key

JUDGED_ROWS = 512  # of each task, whose outcomes are predicted


class Explained(NamedTuple):
  """S supports of each of T tasks, explained by K training tasks."""

  shares: np.ndarray  # of training tasks, [T, S, K]
  r_squared: np.ndarray  # of the outcomes that are inferred for the task's own rows, [T, S]
  within: np.ndarray  # share of these that the 90 % intervals hold, [T, S]
  is_kept: np.ndarray  # whether the agent adapts to the support itself, [T, S]
  is_silent: np.ndarray  # whether the support says nothing, [T, S]


def explain_supports(
  reference: Reference,
  read: Read,
  sources: Mapping[str, Dataset],
  judged: Dataset,
  key: Key,
  *,
  support_size: int,
  num_supports: int,
) -> dict[str, Explained]:
  """Explains random supports of T tasks, from each source.

  Args:
    reference: of the training tasks.
    read: what tells tasks apart, that of the reference.
    sources: data of the same T tasks by who collected them, scaled as those of the reference.
    judged: their own data, of which outcomes are predicted.
    key: decides supports and rows.
    support_size: transitions of a support.
    num_supports: S, of each task.

  Raises:
    ValueError: a task has fewer transitions in a source.
  """
  for name, data in sources.items():
    if (least := int(np.min(data.size))) < support_size:
      raise ValueError(f"{name}: expected {support_size} transitions of each task or more, got {least}")
  num_tasks = len(judged.size)
  key_judged, key_supports = jax.random.split(key)
  own = jax.tree.map(jnp.asarray, judged)

  def judged_rows(task: Array, key: Key) -> Rows:
    return read(gather(own, task, jax.random.randint(key, (JUDGED_ROWS,), 0, own.size[task])))

  inputs, outcomes = jax.vmap(judged_rows)(jnp.arange(num_tasks), jax.random.split(key_judged, num_tasks))

  @jax.jit
  def explain_one(data: Dataset, task: Array, key: Key) -> tuple[Array, ...]:
    """The fields of `Explained`, of one support."""
    rows = random_subset(key, data.size[task], support_size)
    found = explain(reference, gather(data, task, rows), key, read=read)
    mean, std = predictive(reference.model, found.posterior, inputs[task])
    error = outcomes[task] - mean
    variance = jnp.maximum(jnp.var(outcomes[task], axis=0), 1e-12)
    r_squared = 1.0 - jnp.mean(jnp.mean(error**2, axis=0) / variance)
    within = jnp.mean(jnp.abs(error) < DEVIATIONS * std)
    return found.shares, r_squared, within, found.is_kept, found.is_silent

  tasks = jnp.repeat(jnp.arange(num_tasks), num_supports)
  result = {}
  for name, data in sources.items():
    keys = jax.random.split(key_supports, len(tasks))
    one = partial(explain_one, jax.tree.map(jnp.asarray, data))
    found = [one(task, key) for task, key in zip(tasks, keys, strict=True)]
    stacked = (np.stack([np.asarray(each) for each in values]) for values in zip(*found, strict=True))
    result[name] = Explained(*(values.reshape(num_tasks, num_supports, *values.shape[1:]) for values in stacked))
  return result
