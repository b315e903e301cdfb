"""Mean and scale of features, kept up to date during training and stored with the networks that read them."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from macaw_jax.types import Array

LARGEST_FEATURE = 10.0
# Rounding in float32 leaves a feature that never changes a standard deviation of up to 5e-4 of its size.
SMALLEST_RELATIVE_STD = 1e-3


class RunningScale(NamedTuple):
  """Running moments of F features; `count` is the number of batches behind them, at most `max_count`."""

  count: Array  # type: ignore[assignment]  # []  a float; the name hides a tuple's method that nobody needs
  mean: Array  # [F]
  mean_square: Array  # [F]  mean of the squares


def initial_scale(size: int) -> RunningScale:
  """The scale of `size` features before any row: `standardise` returns rows as they are."""
  return RunningScale(jnp.zeros(()), jnp.zeros(size), jnp.zeros(size))


def update_scale(
  scale: RunningScale, rows: Array, max_count: float = 10_000.0, mask: Array | None = None
) -> RunningScale:
  """The scale after one more batch: m <- m + (batch mean - m) / n for both moments, n = min(count + 1, max_count).

  The mean of all batches up to `max_count` of them, then an exponential mean with rate 1 / max_count. Batches count
  alike, whatever their number of rows; all leading axes of `[..., F]` are rows, but those where `mask` `[...]` is zero.
  """
  chex.assert_axis_dimension(rows, -1, scale.mean.shape[-1])
  count = jnp.minimum(scale.count + 1.0, max_count)
  there = None if mask is None else mask.reshape(-1, 1) > 0
  rows = rows.reshape(-1, rows.shape[-1])

  def towards(moment: Array, batch_moment: Array) -> Array:
    return moment + (batch_moment - moment) / count

  return RunningScale(
    count,
    towards(scale.mean, jnp.mean(rows, axis=0, where=there)),
    towards(scale.mean_square, jnp.mean(jnp.square(rows), axis=0, where=there)),
  )


def deviation(scale: RunningScale) -> Array:
  """Standard deviation of each feature, `[F]`, as `standardise` divides by it; one before any update."""
  variance = jnp.maximum(scale.mean_square - jnp.square(scale.mean), SMALLEST_RELATIVE_STD**2 * scale.mean_square)
  return jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0))


def standardise(scale: RunningScale, rows: Array) -> Array:
  """(rows - mean) / std, clipped to [-10, 10]: `[..., F] -> [..., F]`. Before any update, the rows as they are.

  The standard deviation is at least 1e-3 of the feature's root mean square: a feature that never changes becomes about
  zero, and one that was always zero is left unscaled.
  """
  chex.assert_axis_dimension(rows, -1, scale.mean.shape[-1])
  standardised = jnp.clip((rows - scale.mean) / deviation(scale), -LARGEST_FEATURE, LARGEST_FEATURE)
  return jnp.where(scale.count > 0.0, standardised, rows)
