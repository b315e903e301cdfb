"""Likelihoods of numbers under Gaussians whose mean and variance are predicted, as functions of arrays."""

import chex
import jax.numpy as jnp

from macaw_jax.types import Array


def gaussian_surprise(mean: Array, log_variance: Array, value: Array) -> Array:
  """-log N(x; mean, exp(log_variance)) of each number, in nats: three `[...]` to `[...]`.

  1/2 ((x - mean)^2 / exp(log_variance) + log_variance + log 2 pi); every argument carries a gradient.
  """
  return 0.5 * (gaussian_misfit(mean, log_variance, value) + jnp.log(2.0 * jnp.pi))


def gaussian_misfit(mean: Array, log_variance: Array, value: Array) -> Array:
  """Twice the surprise of each number without its constant: three `[...]` to `[...]`.

  (x - mean)^2 / exp(log_variance) + log_variance; every argument carries a gradient.
  """
  chex.assert_equal_shape([mean, log_variance, value])
  return jnp.square(value - mean) * jnp.exp(-log_variance) + log_variance
