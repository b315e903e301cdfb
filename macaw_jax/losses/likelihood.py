"""Likelihoods of numbers under Gaussians whose mean and variance are predicted, as functions of arrays."""

import chex
import jax.numpy as jnp

from macaw_jax.types import Array


def gaussian_surprise(mean: Array, log_variance: Array, value: Array) -> Array:
  """-log N(x; mean, exp(log_variance)) of each number, in nats: three `[...]` to `[...]`.

  1/2 ((x - mean)^2 / exp(log_variance) + log_variance + log 2 pi); every argument carries a gradient.
  """
  chex.assert_equal_shape([mean, log_variance, value])
  return 0.5 * (jnp.square(value - mean) * jnp.exp(-log_variance) + log_variance + jnp.log(2.0 * jnp.pi))
