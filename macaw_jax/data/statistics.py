"""Scales of a dataset: what observations are standardised by and returns divided by."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.types import Transition

# A dimension that hardly moves (the y position of a planar robot) is centred, not blown up by its rounding errors.
_MINIMUM_STD = 1e-2


class Statistics(NamedTuple):
  """Scales fitted to the training tasks' data; they belong to a run as its parameters do."""

  observation_mean: chex.Array  # [O]
  observation_std: chex.Array  # [O]  at least 0.01
  return_scale: chex.Array  # []


def fit_statistics(dataset: Dataset) -> Statistics:
  """Scales of all real rows of all tasks of a dataset on the host, see `fit_scales`."""
  chex.assert_rank([dataset.observation, dataset.mc_return, dataset.size], [3, 2, 1])

  def real_rows(table: chex.Array) -> list[np.ndarray]:
    return [np.asarray(rows[: int(size)]) for rows, size in zip(table, dataset.size, strict=True)]

  return fit_scales(real_rows(dataset.observation), real_rows(dataset.mc_return))


def fit_scales(observations: Sequence[np.ndarray], returns: Sequence[np.ndarray]) -> Statistics:
  """Mean and standard deviation of observations and the size of returns, over all rows of all parts: float32.

  The return scale is the root mean square of the Monte-Carlo returns: divided by it, a value function that is zero
  everywhere has a mean squared error of one. The standard deviation would leave returns of one sign large (a constant
  survival bonus, a cost), and it is their size, mean included, that makes the first value steps diverge.

  Args:
    observations: parts of the data, each `[n, O]`; float64 is used inside.
    returns: discounted Monte-Carlo returns of the same parts, each `[n]`.
  """
  num_rows = sum(map(len, observations))
  # Part by part: float64 copies of the whole data would need several times their memory.
  mean = np.sum([rows.sum(axis=0, dtype=np.float64) for rows in observations], axis=0) / num_rows
  std = np.sqrt(np.sum([np.square(rows - mean).sum(axis=0) for rows in observations], axis=0) / num_rows)
  scale = np.sqrt(np.sum([np.square(rows, dtype=np.float64).sum() for rows in returns]) / num_rows)
  return Statistics(
    observation_mean=mean.astype(np.float32),
    observation_std=np.maximum(std, _MINIMUM_STD).astype(np.float32),
    # Data without any reward have no scale.
    return_scale=np.asarray(scale if scale > 0.0 else 1.0, np.float32),
  )


def no_scaling(observation_size: int) -> Statistics:
  """Scales that leave everything as it is, for an agent that acts before there are data."""
  return Statistics(
    np.zeros(observation_size, np.float32), np.ones(observation_size, np.float32), np.ones((), np.float32)
  )


def normalise_observation(statistics: Statistics, observation: chex.Array) -> chex.Array:
  """(observation - mean) / std, of observations `[..., O]`."""
  chex.assert_axis_dimension(observation, -1, statistics.observation_mean.shape[-1])
  return (observation - statistics.observation_mean) / statistics.observation_std


def normalise(statistics: Statistics, transitions: Transition) -> Transition:
  """Transitions with standardised observations, and with rewards and returns divided by the return scale."""
  return transitions._replace(**_scaled_fields(statistics, transitions))


def normalise_dataset(statistics: Statistics, dataset: Dataset) -> Dataset:
  """A dataset whose every sample is `normalise`d: once on load, not at every step."""
  return dataset._replace(**_scaled_fields(statistics, dataset))


def _scaled_fields(statistics: Statistics, record: Transition | Dataset) -> dict[str, chex.Array]:
  return {
    "observation": normalise_observation(statistics, record.observation),
    "next_observation": normalise_observation(statistics, record.next_observation),
    "final_observation": normalise_observation(statistics, record.final_observation),
    "reward": record.reward / statistics.return_scale,
    "mc_return": record.mc_return / statistics.return_scale,
  }
