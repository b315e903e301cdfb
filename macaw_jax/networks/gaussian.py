"""Gaussian policies with a learned standard deviation, and the functions of two distributions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.networks.linen import as_network, forward_rows
from macaw_jax.networks.policy import gaussian_log_prob
from macaw_jax.networks.small_weights import small_weights_mlp
from macaw_jax.types import ActionDistribution, Array, Key, Params, TimeStep

LOG_STD_FLOOR = -13.815511  # log 1e-6: a large inner step would otherwise take a standard deviation to zero


class GaussianPolicy(NamedTuple):
  """A policy as pure functions of its parameters, `{"network": ..., "log_std": [] or [A]}`.

  init:         `(key) -> params`
  distribution: `(params, observation [..., O]) -> ActionDistribution [..., A]`
  """

  init: Callable[[Key], Params]
  distribution: Callable[[Params, Array], ActionDistribution]


def learned_gaussian_policy(
  observation_size: int,
  action_size: int,
  hidden_sizes: Sequence[int],
  *,
  activation: str = "tanh",
  initial_log_std: float | Array = 0.0,
  shared_log_std: bool = True,
) -> GaussianPolicy:
  """pi(a | s) = Normal(f(s), exp(log_std)^2 I), f a multilayer perceptron with a linear output: nothing is squashed.

  `log_std` does not depend on the observation. It is a parameter among the others, which an inner step changes too;
  below `LOG_STD_FLOOR` it counts as the floor.

  Args:
    observation_size: O.
    action_size: A.
    hidden_sizes: Widths of the hidden layers.
    activation: Between the layers, a name in `networks.small_weights.ACTIVATIONS`; ValueError for any other.
    initial_log_std: Where `log_std` starts.
    shared_log_std: Whether the action's components have one `log_std` or each its own.
  """
  module = small_weights_mlp((*hidden_sizes, action_size), activation)

  def init(key: Key) -> Params:
    log_std = jnp.full(() if shared_log_std else (action_size,), initial_log_std, float)
    return {"network": as_network(module, observation_size).init(key), "log_std": log_std}

  def distribution(params: Params, observation: Array) -> ActionDistribution:
    chex.assert_axis_dimension(observation, -1, observation_size)
    mean = forward_rows(module, params["network"], observation)
    return ActionDistribution(mean, jnp.broadcast_to(jnp.maximum(params["log_std"], LOG_STD_FLOOR), mean.shape))

  return GaussianPolicy(init, distribution)


def log_prob(gaussian: ActionDistribution, action: Array) -> Array:
  """Log density of an action, summed over its components: `[..., A] -> [...]`."""
  return gaussian_log_prob(gaussian.mean, jnp.exp(gaussian.log_std), action)


def sample(gaussian: ActionDistribution, key: Key) -> Array:
  """An action `[..., A]`."""
  return gaussian.mean + jnp.exp(gaussian.log_std) * jax.random.normal(key, gaussian.mean.shape)


def kl_divergence(p: ActionDistribution, q: ActionDistribution) -> Array:
  """KL(p || q) = sum over components of log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2, `[...]`."""
  distance = (jnp.exp(2.0 * p.log_std) + (p.mean - q.mean) ** 2) * jnp.exp(-2.0 * q.log_std)
  return jnp.sum(q.log_std - p.log_std + 0.5 * (distance - 1.0), axis=-1)


def act_with_gaussian(
  policy: GaussianPolicy, part: str = "policy"
) -> Callable[[dict[str, Params], TimeStep, Key | None], Array]:
  """`(params, timestep, key) -> action` of the named part: the mean without a key, a sample with one."""

  def act(params: dict[str, Params], timestep: TimeStep, key: Key | None) -> Array:
    gaussian = policy.distribution(params[part], timestep.observation)
    return gaussian.mean if key is None else sample(gaussian, key)

  return act
