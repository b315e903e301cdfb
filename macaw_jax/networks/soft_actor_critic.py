"""Networks of soft actor-critic, as pure functions on explicit parameters.

Their input is whatever the caller concatenated: observation, and task description where there are tasks.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.networks.linen import forward, init_params
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

  Args:
    input_size: width of the last axis of the input.
    action_size: number of action dimensions A.
    hidden_sizes: widths of the hidden layers.
    log_std_min: lower end of the log standard deviation, approached smoothly (through a tanh).
    log_std_max: upper end of it.

  Returns:
    A network whose `apply(params, inputs [..., I])` gives `(mean [..., A], log_std [..., A])`.
  """
  module = MLP((*hidden_sizes, 2 * action_size))

  def init(key: Key) -> Params:
    return init_params(module, key, jnp.zeros((1, input_size)))

  def apply(params: Params, inputs: Array) -> tuple[Array, Array]:
    mean, raw_log_std = jnp.split(forward(module, params, inputs), 2, axis=-1)
    log_std = log_std_min + 0.5 * (log_std_max - log_std_min) * (1.0 + jnp.tanh(raw_log_std))
    return mean, log_std

  return Network(init, apply)


def twin_critic(input_size: int, action_size: int, hidden_sizes: Sequence[int]) -> Network:
  """Two independent action-value functions, evaluated together.

  Args:
    input_size: width of the last axis of the input, without the action.
    action_size: number of action dimensions A.
    hidden_sizes: widths of the hidden layers.

  Returns:
    A network whose `apply(params, inputs [..., I], actions [..., A])` gives values `[2, ...]`; every leaf of `params`
    has a leading axis of two.
  """
  module = MLP((*hidden_sizes, 1))

  def init(key: Key) -> Params:
    zeros = jnp.zeros((1, input_size + action_size))
    return jax.vmap(lambda child: init_params(module, child, zeros))(jax.random.split(key))

  def apply(params: Params, inputs: Array, actions: Array) -> Array:
    joined = jnp.concatenate([inputs, actions], axis=-1)
    values = jax.vmap(lambda critic: forward(module, critic, joined))(params)
    return jnp.squeeze(values, axis=-1)

  return Network(init, apply)
