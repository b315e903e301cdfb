"""State-value networks."""

from collections.abc import Sequence

from macaw_jax.networks.layers import make_layer
from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Network, Params


def value_network(
  observation_size: int, hidden_sizes: Sequence[int], *, layer: str, matmul_precision: str = "float32"
) -> Network:
  """V(s): an `MLP` with one linear output. `apply(params, observation [..., O]) -> [...]`.

  Raises ValueError for an unknown layer or precision of products.
  """
  network = as_network(MLP((*hidden_sizes, 1), make_layer(layer, matmul_precision)), observation_size)

  def apply(params: Params, observation: Array) -> Array:
    return network.apply(params, observation)[..., 0]

  return Network(network.init, apply)
