"""Networks of soft actor-critic, as pure functions on explicit parameters.

Their input is whatever the caller concatenated: observation, and task description where there are tasks.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Network, Params


def squashed_gaussian_policy(
  input_size: int,
  action_size: int,
  hidden_sizes: Sequence[int],
  *,
  log_std_min: float = -5.0,
  log_std_max: float = 2.0,
) -> Network:
  """Mean and log standard deviation of a Gaussian whose sample is still to be squashed by tanh.

  `apply(params, inputs [..., I])` gives `(mean [..., A], log_std [..., A])`.

  Args:
    input_size: I.
    action_size: A.
    hidden_sizes: Widths of the hidden layers.
    log_std_min: Lower end of the log standard deviation, approached smoothly (through a tanh).
    log_std_max: Upper end of it.
  """
  network = as_network(MLP((*hidden_sizes, 2 * action_size)), input_size)

  def apply(params: Params, inputs: Array) -> tuple[Array, Array]:
    mean, raw_log_std = jnp.split(network.apply(params, inputs), 2, axis=-1)
    log_std = log_std_min + 0.5 * (log_std_max - log_std_min) * (1.0 + jnp.tanh(raw_log_std))
    return mean, log_std

  return Network(network.init, apply)


def twin_critic(input_size: int, action_size: int, hidden_sizes: Sequence[int]) -> Network:
  """Two independent action-value functions Q_j(s, a) on inputs of sizes I and A, evaluated together.

  `apply(params, inputs [..., I], actions [..., A])` gives values `[2, ...]`; leaves of `params` have a leading axis of
  two.
  """
  network = as_network(MLP((*hidden_sizes, 1)), input_size + action_size)

  def init(key: Key) -> Params:
    return jax.vmap(network.init)(jax.random.split(key))

  def apply(params: Params, inputs: Array, actions: Array) -> Array:
    joined = jnp.concatenate([inputs, actions], axis=-1)
    return jnp.squeeze(jax.vmap(network.apply, in_axes=(0, None))(params, joined), axis=-1)

  return Network(init, apply)
