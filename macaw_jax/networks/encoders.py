"""Context encoders: networks on the features of one transition, and pools of a set of embeddings.

Pooling functions read embeddings `[..., C, L]` of the C transitions of a context. They do not depend on the order of
the transitions. A `mask` `[..., C]` says which of them are there; without one, all are. A row where it is zero or false
has no influence on the result, whatever it holds, and gets a gradient of exactly zero; an encoder that made such a row
from numbers that are not finite still has no finite gradient of its own, so that rows used as padding should hold
ordinary numbers. Axes: C transitions of a context, L latent size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.networks.latent import OUTPUT_BOUND, MakeLayer, small_layer
from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Network

SMALLEST_VARIANCE = 1e-7  # Precisions of up to 1e7 add up in float32 without overflow.
SMALLEST_NORM = 1e-12


class Gaussian(NamedTuple):
  """A Gaussian with independent coordinates."""

  mean: Array  # [..., L]
  variance: Array  # [..., L]


def transition_encoder(
  input_size: int, output_size: int, hidden_sizes: Sequence[int], *, layer: MakeLayer = nn.Dense
) -> Network:
  """An `MLP` on the features of one transition whose outputs start near zero.

  Weights and biases of the last layer start as Uniform(-0.003, 0.003), hidden layers as `layer` starts them. Read by
  `gaussian_factors`, every factor therefore starts near mean 0 and variance log 2 (Rakelly et al. 2019, "Efficient
  Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", released code).

  `apply(params, features [..., input_size]) -> [..., output_size]`; 2 L outputs for `gaussian_factors`.
  """
  return as_network(MLP((*hidden_sizes, output_size), layer, output_layer=small_layer(OUTPUT_BOUND)), input_size)


def gaussian_factors(outputs: Array) -> Gaussian:
  """One Gaussian a transition, from an encoder's outputs (m, rho): mean m, variance softplus(rho).

  `[..., C, 2 L]`, the L means first, to mean and variance `[..., C, L]`. Raises ValueError where the last axis is odd.
  """
  if outputs.shape[-1] % 2:
    raise ValueError(f"outputs of shape {outputs.shape} must hold as many means as variances: an even last axis")
  mean, raw_variance = jnp.split(outputs, 2, axis=-1)
  return Gaussian(mean, jax.nn.softplus(raw_variance))


def product_of_gaussians(mean: Array, variance: Array, mask: Array | None = None) -> Gaussian:
  """The normalised product of the Gaussians of a context: precisions add, means are weighted by precision.

  var = 1 / sum_n (1 / s_n) and mean = var sum_n (m_n / s_n), in each coordinate (Rakelly et al. 2019,
  arXiv:1903.08254). A variance s_n below 1e-7 counts as that, and has a gradient of zero. The prior N(0, I) is no
  factor of the product; it is the result where there is no transition. m and s are `[..., C, L]`, the product is
  `[..., L]`.
  """
  chex.assert_equal_shape([mean, variance])
  present = _present(mean, mask)
  variance = jnp.maximum(jnp.where(present, variance, 1.0), SMALLEST_VARIANCE)
  precision = jnp.where(present, 1.0 / variance, 0.0)
  weighted_mean = precision * jnp.where(present, mean, 0.0)
  any_present = jnp.any(present, axis=-2)
  product_variance = 1.0 / jnp.where(any_present, jnp.sum(precision, axis=-2), 1.0)
  return Gaussian(product_variance * jnp.sum(weighted_mean, axis=-2), product_variance)


def sample_gaussian(gaussian: Gaussian, key: Key) -> Array:
  """A sample [..., L], mean + sqrt(variance) noise with noise ~ N(0, I), with gradients to mean and variance."""
  chex.assert_equal_shape([gaussian.mean, gaussian.variance])
  return gaussian.mean + jnp.sqrt(gaussian.variance) * jax.random.normal(key, gaussian.mean.shape)


def mean_pool(embeddings: Array, mask: Array | None = None) -> Array:
  """The mean embedding of a context, `[..., C, L] -> [..., L]` (FOCAL, Li et al. 2021, arXiv:2010.01112).

  Zeros where there is no transition.
  """
  present = _present(embeddings, mask)
  count = jnp.sum(present, axis=-2)
  return jnp.sum(jnp.where(present, embeddings, 0.0), axis=-2) / jnp.maximum(count, 1)


def attention_pool(embeddings: Array, scores: Array, mask: Array | None = None) -> Array:
  """The mean embedding of a context weighted by a softmax of scores, sum_n softmax_n(score) z_n.

  Equal scores give the mean; a constant added to all of them changes nothing. The result lies in the convex hull of the
  embeddings: inside the unit ball where these lie on the sphere (CORRO, Yuan and Lu 2022, arXiv:2206.10442).
  Embeddings `[..., C, L]` and scores `[..., C]` to `[..., L]`; zeros where there is no transition.
  """
  chex.assert_shape(scores, embeddings.shape[:-1])
  present = _present(embeddings, mask)
  column = jnp.where(present, scores[..., None], 0.0)
  largest = jnp.max(column, axis=-2, keepdims=True, where=present, initial=-jnp.inf)
  # Only transitions that are there may be shifted: without any, the largest score is minus infinity.
  shifted = jnp.where(present, column - jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0)), 0.0)
  weights = jnp.where(present, jnp.exp(shifted), 0.0)
  total = jnp.sum(weights, axis=-2)
  pooled = jnp.sum(weights * jnp.where(present, embeddings, 0.0), axis=-2)
  return pooled / jnp.where(jnp.any(present, axis=-2), total, 1.0)


def normalise_to_sphere(embeddings: Array) -> Array:
  """Vectors of unit length, z / max(|z|, 1e-12) with the Euclidean norm; zero stays zero: `[..., L] -> [..., L]`.

  The lower bound keeps the gradient finite at zero.
  """
  squared_norm = jnp.sum(jnp.square(embeddings), axis=-1, keepdims=True)
  return embeddings / jnp.sqrt(jnp.maximum(squared_norm, SMALLEST_NORM**2))


def _present(embeddings: Array, mask: Array | None) -> Array:
  """Which rows of `[..., C, L]` are there: `[..., C, 1]`."""
  if mask is None:
    return jnp.ones((*embeddings.shape[:-1], 1), bool)
  chex.assert_shape(mask, embeddings.shape[:-1])
  return jnp.asarray(mask, bool)[..., None]
