"""The learned advantage function of NoRML."""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from macaw_jax.networks.linen import as_network, forward_rows
from macaw_jax.networks.small_weights import small_weights_mlp
from macaw_jax.types import Array, Network, Params


def learned_advantage_function(
  observation_size: int, action_size: int, hidden_sizes: Sequence[int], *, activation: str = "tanh"
) -> Network:
  """A_psi(s, a, s'): a multilayer perceptron of [s', s, a] with one linear output, in place of an advantage of rewards.

  It sees a whole transition, so that it can tell from it alone that dynamics or a sensor have changed
  (Yang et al. 2019, NoRML, section 4.1). `apply(params, observation [..., O], action [..., A],
  next_observation [..., O]) -> [...]`. Raises ValueError for an unknown activation.
  """
  module = small_weights_mlp((*hidden_sizes, 1), activation)

  def apply(params: Params, observation: Array, action: Array, next_observation: Array) -> Array:
    chex.assert_equal_shape([observation, next_observation])
    return forward_rows(module, params, jnp.concatenate([next_observation, observation, action], axis=-1))[..., 0]

  return Network(as_network(module, 2 * observation_size + action_size).init, apply)
