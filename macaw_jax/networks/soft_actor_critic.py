"""Networks of soft actor-critic, as pure functions on explicit parameters.

Their input is whatever the caller concatenated: observation, and task description where there are tasks.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Network, Params

BoundLogStd = Callable[[Array], Array]
"""`(what a network puts out [..., A]) -> log standard deviation [..., A]` in its range."""


def smooth_bounds(low: float, high: float) -> BoundLogStd:
  """The range (low, high), approached smoothly through a tanh: every output has a gradient."""

  def bound(raw: Array) -> Array:
    return low + 0.5 * (high - low) * (1.0 + jnp.tanh(raw))

  return bound


STANDARD_BOUNDS = smooth_bounds(-5.0, 2.0)


def hard_bounds(low: float, high: float) -> BoundLogStd:
  """The range [low, high] by a cut: beyond it the gradient is exactly zero."""

  def bound(raw: Array) -> Array:
    return jnp.clip(raw, low, high)

  return bound


def squashed_gaussian_policy(
  input_size: int,
  action_size: int,
  hidden_sizes: Sequence[int],
  *,
  bound_log_std: BoundLogStd = STANDARD_BOUNDS,
  mlp: Callable[[Sequence[int]], nn.Module] = MLP,
) -> Network:
  """Mean and log standard deviation of a Gaussian whose sample is still to be squashed by tanh.

  `apply(params, inputs [..., I])` gives `(mean [..., A], log_std [..., A])`.

  Args:
    input_size: I.
    action_size: A.
    hidden_sizes: Widths of the hidden layers.
    bound_log_std: Brings the log standard deviation into its range.
    mlp: Makes the network from the sizes of its layers.
  """
  network = as_network(mlp((*hidden_sizes, 2 * action_size)), input_size)

  def apply(params: Params, inputs: Array) -> tuple[Array, Array]:
    mean, raw_log_std = jnp.split(network.apply(params, inputs), 2, axis=-1)
    return mean, bound_log_std(raw_log_std)

  return Network(network.init, apply)


def twin_critic(
  input_size: int,
  action_size: int,
  hidden_sizes: Sequence[int],
  *,
  mlp: Callable[[Sequence[int]], nn.Module] = MLP,
) -> Network:
  """Two independent action-value functions Q_j(s, a) on inputs of sizes I and A, evaluated together.

  `apply(params, inputs [..., I], actions [..., A])` gives values `[2, ...]`; leaves of `params` have a leading axis of
  two. `mlp` makes each network from the sizes of its layers.
  """
  network = as_network(mlp((*hidden_sizes, 1)), input_size + action_size)

  def init(key: Key) -> Params:
    return jax.vmap(network.init)(jax.random.split(key))

  def apply(params: Params, inputs: Array, actions: Array) -> Array:
    joined = jnp.concatenate([inputs, actions], axis=-1)
    return jnp.squeeze(jax.vmap(network.apply, in_axes=(0, None))(params, joined), axis=-1)

  return Network(init, apply)
