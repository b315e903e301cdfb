"""Staying near the behaviour of the data: a divergence from it by a discriminator, as functions of arrays.

Wu et al. 2019, "Behavior Regularized Offline Reinforcement Learning" (arXiv:1911.11361), with the Kullback-Leibler
divergence in its dual form, as FOCAL has it (Li et al. 2021, arXiv:2010.01112). A discriminator gives scores g(s, a).
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.types import Array

SMALLEST_RATIO = 1e-8  # beneath the logarithm, as in the released code of FOCAL
SMALLEST_SQUARE = 1e-8  # beneath the root, likewise


def dual_kl(policy_score: Array, data_score: Array) -> Array:
  """`log softplus(g(s, a)) - softplus(g(s, a_data)) + 1`, an estimate of KL(policy || data): `[...], [...] -> [...]`.

  Its mean is a lower bound of the divergence for any g, and equal to it where softplus(g) is the ratio of the policy's
  density to that of the data. Both scores carry gradients.
  """
  chex.assert_equal_shape([policy_score, data_score])
  return jnp.log(jax.nn.softplus(policy_score) + SMALLEST_RATIO) - jax.nn.softplus(data_score) + 1.0


def dual_wasserstein(policy_score: Array, data_score: Array) -> Array:
  """`g(s, a) - g(s, a_data)`, an estimate of the Wasserstein distance of policy and data: `[...], [...] -> [...]`.

  Its mean is a lower bound of the distance for any g whose slope in the action is at most one. Both scores carry
  gradients.
  """
  chex.assert_equal_shape([policy_score, data_score])
  return policy_score - data_score


def gradient_penalty(gradient: Array, *, weight: float = 5.0) -> Array:
  """`weight mean(max(||grad_a g(s, a)|| - 1, 0)^2)`: keeps a discriminator smooth in the action: `[..., A] -> []`.

  The gradient is that by the action, between recorded actions and the policy's, and the weight 5 as Wu et al. write.
  """
  squared_norm = jnp.sum(gradient**2, axis=-1)
  # Below one nothing is penalised; so the root is never taken near zero, where it has no derivative.
  return weight * jnp.mean((jnp.sqrt(jnp.maximum(squared_norm, 1.0)) - 1.0) ** 2)


def score_penalty(score: Array, *, weight: float = 5.0) -> Array:
  """`weight mean(max(sqrt(g^2 + 1e-8) - 1, 0)^2)`: keeps the scores themselves small, whatever their slope: to `[]`.

  The released code of FOCAL has it in place of `gradient_penalty`.
  """
  return weight * jnp.mean(jnp.maximum(jnp.sqrt(score**2 + SMALLEST_SQUARE) - 1.0, 0.0) ** 2)


def multiplier_loss(multiplier: Array, divergence: Array, *, target: float) -> Array:
  """`-multiplier (mean divergence - target)`: minimised, the multiplier grows while the divergence is too large.

  A gradient step at the rate eta is FOCAL's rule, multiplier + eta (mean divergence - target). The multiplier `[]`
  carries the gradient; the divergence `[...]` is under a stop-gradient.
  """
  return -multiplier * jax.lax.stop_gradient(jnp.mean(divergence) - target)
