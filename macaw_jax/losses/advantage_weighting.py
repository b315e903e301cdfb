"""Weights of recorded actions by their advantages, and the likelihood that they weigh, as functions of arrays."""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import masked_mean
from macaw_jax.types import Array

SMALLEST_DEVIATION = 1e-8  # Advantages that are all equal then weigh 1, and the loss is behaviour cloning.


def exponential_weights(advantage: Array, *, temperature: float, max_weight: float) -> Array:
  """W = min(exp(A / temperature), max_weight), without overflow: `[...] -> [...]`.

  Implicit Q-learning weighs so (Kostrikov et al. 2021, arXiv:2110.06169, equation 7).
  """
  return jnp.exp(jnp.minimum(advantage / temperature, jnp.log(max_weight)))


def softmax_weights(advantage: Array, *, temperature: float) -> Array:
  """W = N softmax(A / temperature) over all N rows of a batch, so that weights have mean one: `[...] -> [...]`.

  AWAC's exp(A / temperature) / Z, with Z estimated on the batch (Nair et al. 2020, arXiv:2006.09359).
  """
  return advantage.size * jax.nn.softmax(advantage / temperature, axis=None)


def advantage_weights(
  advantage: Array,
  *,
  temperature: float = 1.0,
  max_weight: float = 20.0,
  normalise: bool = True,
  mask: Array | None = None,
) -> Array:
  """W = exp(min(A' / temperature, log max_weight)), A' = (A - mean A) / std A over the rows that count.

  The standard deviation is the unbiased one, as in the released code. Only large weights are clipped.

  Args:
    advantage: A, `[B]`.
    temperature: How much a better action counts; towards infinity every weight is 1.
    max_weight: Upper bound of a weight.
    normalise: False uses A itself, cut below at -log max_weight as well.
    mask: `[B]`, 0.0 for rows that do not count; their weight is zero.
  """
  chex.assert_rank(advantage, 1)
  if normalise:
    advantage = (advantage - masked_mean(advantage, mask)) / jnp.maximum(
      _unbiased_std(advantage, mask), SMALLEST_DEVIATION
    )
  else:
    advantage = jnp.maximum(advantage, -jnp.log(max_weight) * temperature)
  weights = exponential_weights(advantage, temperature=temperature, max_weight=max_weight)
  return weights if mask is None else jnp.where(mask > 0, weights, 0.0)


def weighted_negative_log_likelihood(log_prob: Array, weights: Array, mask: Array | None = None) -> Array:
  """-mean(w log pi(a | s)) over the rows that count, w under a stop-gradient: `[...], [...] -> []`."""
  chex.assert_equal_shape([log_prob, weights])
  return -masked_mean(jax.lax.stop_gradient(weights) * log_prob, mask)


def _unbiased_std(values: Array, mask: Array | None) -> Array:
  if mask is None:
    return jnp.std(values, ddof=1)
  squares = jnp.where(mask > 0, jnp.square(values - masked_mean(values, mask)), 0.0)
  return jnp.sqrt(jnp.sum(squares) / jnp.maximum(jnp.sum(mask) - 1.0, 1.0))
