"""Networks of actor-critics that see a latent: their layers, initial values and policies, in which codes differ."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.networks.soft_actor_critic import STANDARD_BOUNDS, BoundLogStd, squashed_gaussian_policy, twin_critic
from macaw_jax.types import Array, Key, Network, Params

MakeLayer = Callable[..., nn.Module]
"""`(features, name=...) -> a layer`; `nn.Dense` is one."""

OUTPUT_BOUND = 3e-3
POLICY_OUTPUT_BOUND = 1e-3
RELEASED_BIAS = 0.1
RELEASED_MARGIN = 1e-6


class LatentNetworks(NamedTuple):
  """How the networks of an actor-critic are built.

  layer:               the hidden layers of every network
  output_layer:        the last layer of values and discriminators
  policy_output_layer: the last layer of policies
  bound_log_std:       brings the policy's log standard deviation into its range
  density_margin:      `margin` of `losses.soft_actor_critic.squashed_log_prob`
  """

  layer: MakeLayer = nn.Dense
  output_layer: MakeLayer = nn.Dense
  policy_output_layer: MakeLayer = nn.Dense
  bound_log_std: BoundLogStd = STANDARD_BOUNDS
  density_margin: float = 0.0

  def policy(self, input_size: int, action_size: int, hidden_sizes: Sequence[int]) -> Network:
    """Mean and log standard deviation before the squashing, as of `squashed_gaussian_policy`."""
    return squashed_gaussian_policy(
      input_size, action_size, hidden_sizes, bound_log_std=self.bound_log_std, mlp=self._mlp(self.policy_output_layer)
    )

  def critic(self, input_size: int, action_size: int, hidden_sizes: Sequence[int]) -> Network:
    """Two action values, as of `twin_critic`."""
    return twin_critic(input_size, action_size, hidden_sizes, mlp=self._mlp(self.output_layer))

  def value(self, input_size: int, hidden_sizes: Sequence[int]) -> Network:
    """One number of inputs: `apply(params, inputs [..., I]) -> [...]`."""
    network = as_network(self._mlp(self.output_layer)((*hidden_sizes, 1)), input_size)

    def apply(params: Params, inputs: Array) -> Array:
      return network.apply(params, inputs)[..., 0]

    return Network(network.init, apply)

  def _mlp(self, output_layer: MakeLayer) -> Callable[[Sequence[int]], nn.Module]:
    return functools.partial(MLP, layer=self.layer, output_layer=output_layer)


STANDARD_NETWORKS = LatentNetworks()


def released_hidden_layer(features: int, *, name: str) -> nn.Module:
  """A layer as the released codes of PEARL and its relatives start it: weights U(-1/sqrt(k), 1/sqrt(k)), biases 0.1.

  k is the number of outputs: the code reads the wrong axis of a matrix whose rows are outputs.
  """
  return nn.Dense(
    features, kernel_init=_uniform(features**-0.5), bias_init=nn.initializers.constant(RELEASED_BIAS), name=name
  )


def small_layer(bound: float) -> MakeLayer:
  """A layer whose weights and biases start as U(-bound, bound), so that its outputs start near zero."""
  return functools.partial(nn.Dense, kernel_init=_uniform(bound), bias_init=_uniform(bound))


def released_networks(bound_log_std: BoundLogStd) -> LatentNetworks:
  """The networks of the released codes of PEARL, FOCAL, CSRO and CORRO, which differ in the bounds alone."""
  return LatentNetworks(
    layer=released_hidden_layer,
    output_layer=small_layer(OUTPUT_BOUND),
    policy_output_layer=small_layer(POLICY_OUTPUT_BOUND),
    bound_log_std=bound_log_std,
    density_margin=RELEASED_MARGIN,
  )


def _uniform(bound: float) -> Callable[..., Array]:
  def init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

  return init
