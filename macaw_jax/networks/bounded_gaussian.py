"""A network whose outputs are Gaussians: means, and log variances between learned bounds."""

from collections.abc import Sequence

import jax.numpy as jnp

from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Network, Params

# Of Chua et al. 2018, "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models".
INITIAL_MIN_LOG_VARIANCE = -10.0
INITIAL_MAX_LOG_VARIANCE = 0.5


def bounded_gaussian(input_size: int, output_size: int, hidden_sizes: Sequence[int]) -> Network:
  """Means and log variances of S numbers, the latter between bounds that are parameters too.

  `apply(params, inputs [..., I])` gives `(mean [..., S], log_variance [..., S])`. Parameters are `network`, whose first
  S outputs are the means, and `min_log_variance`, `max_log_variance`, [S]; see `soft_bounds`.
  """
  network = as_network(MLP((*hidden_sizes, 2 * output_size)), input_size)

  def init(key: Key) -> Params:
    return {
      "network": network.init(key),
      "min_log_variance": jnp.full(output_size, INITIAL_MIN_LOG_VARIANCE, float),
      "max_log_variance": jnp.full(output_size, INITIAL_MAX_LOG_VARIANCE, float),
    }

  def apply(params: Params, inputs: Array) -> tuple[Array, Array]:
    mean, raw = jnp.split(network.apply(params["network"], inputs), 2, axis=-1)
    return mean, soft_bounds(raw, params["min_log_variance"], params["max_log_variance"])

  return Network(init, apply)


def soft_bounds(raw: Array, low: Array, high: Array) -> Array:
  """`raw` between two bounds, with a gradient to all three: first below `high`, and then above `low`.

  x = high - softplus(high - raw), then low + softplus(x - low). The result exceeds `high` by softplus(low - high) at
  most.
  """
  # The same as sums of exponentials, whose gradients are no differences of nearly equal numbers.
  below = -jnp.logaddexp(-high, -raw)
  return jnp.logaddexp(low, below)


def width_of_bounds(params: Params) -> Array:
  """Sum of the upper bounds of a `bounded_gaussian` minus that of the lower ones, []: a loss draws them together."""
  return jnp.sum(params["max_log_variance"]) - jnp.sum(params["min_log_variance"])
