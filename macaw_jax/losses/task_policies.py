"""Losses of agents that have a policy for each of several tasks: arrays of log-probabilities and divergences."""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import masked_mean
from macaw_jax.types import Array


def regularised_reward(
  reward: Array, log_prob: Array, central_log_prob: Array, *, alpha: float | Array, beta: float | Array
) -> Array:
  """The reward of Distral, r + (alpha / beta) log pi_0(a | s) - (1 / beta) log pi_i(a | s), all `[...]`.

  Teh et al. 2017, equation 1. With c_KL = alpha / beta and c_Ent = (1 - alpha) / beta it is
  r - c_KL log(pi_i / pi_0) - c_Ent log pi_i. With Q in the place of r its expectation over pi_i = pi_0^alpha exp(beta
  (Q - V)) is V. Both logarithms are data, under a stop-gradient: the score of pi_i has all of the gradient.

  Args:
    reward: r.
    log_prob: log pi_i of the action taken.
    central_log_prob: log pi_0 of it.
    alpha: in [0, 1]; zero leaves the entropy alone, one the divergence from pi_0.
    beta: the inverse temperature, in units of one over a reward.
  """
  chex.assert_equal_shape([reward, log_prob, central_log_prob])
  return reward + jax.lax.stop_gradient(alpha * central_log_prob - log_prob) / beta


def mean_over_pairs(first: Array, second: Array, mask: Array) -> Array:
  """The mean over others j of what slice i and slice j have between them on the states of both, for each i: `[T]`.

  (1 / (T - 1)) sum_{j != i} (mean over steps of i of first_ij + mean over steps of j of second_ij) / 2, as in Ghosh et
  al. 2018, section 4.1. Zero with one slice.

  Args:
    first: `[T, T, E, H]`, between i and j on the steps of slice i.
    second: `[T, T, E, H]`, the same on the steps of slice j.
    mask: `[T, E, H]`, 1.0 where a step of the slice happened.
  """
  num_slices = len(mask)
  chex.assert_shape([first, second], (num_slices, *mask.shape))
  over_steps = jax.vmap(masked_mean)
  of_first = jax.vmap(over_steps, in_axes=(1, None), out_axes=1)(first, mask)  # [T, T]
  of_second = jax.vmap(over_steps, in_axes=(0, None))(second, mask)
  others = 1.0 - jnp.eye(num_slices)
  return jnp.sum(others * 0.5 * (of_first + of_second), axis=1) / max(num_slices - 1, 1)
