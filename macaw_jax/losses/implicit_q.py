"""Implicit Q-learning: state values near the best recorded action, as a function of arrays.

Kostrikov et al. 2021, "Offline Reinforcement Learning with Implicit Q-Learning" (arXiv:2110.06169). The weights of its
policy are `advantage_weighting.exponential_weights`.
"""

import jax.numpy as jnp

from macaw_jax.types import Array


def expectile_loss(difference: Array, expectile: float) -> Array:
  """Mean of `|expectile - 1{u < 0}| u^2`, u = target - prediction (equation 5).

  One half gives half the mean squared error; towards one, the prediction nears the largest target.

  Args:
    difference: u, `[...]`; it carries the gradient.
    expectile: In (0, 1).

  Returns:
    The loss [].
  """
  weight = jnp.where(difference < 0, 1.0 - expectile, expectile)
  return jnp.mean(weight * difference**2)
