"""State-value networks."""

from collections.abc import Sequence

import jax.numpy as jnp

from macaw_jax.networks.layers import make_layer
from macaw_jax.networks.linen import forward, init_params
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Network, Params


def value_network(
  observation_size: int, hidden_sizes: Sequence[int], *, layer: str, matmul_precision: str = "float32"
) -> Network:
  """V(s): an `MLP` with one linear output. `apply(params, observation [..., O]) -> [...]`.

  Raises ValueError for an unknown layer or precision of products.
  """
  module = MLP((*hidden_sizes, 1), make_layer(layer, matmul_precision))

  def init(key: Key) -> Params:
    return init_params(module, key, jnp.zeros((1, observation_size)))

  def apply(params: Params, observation: Array) -> Array:
    return forward(module, params, observation)[..., 0]

  return Network(init, apply)
