"""A multilayer perceptron over any kind of layer."""

from collections.abc import Callable, Sequence

import flax.linen as nn

from macaw_jax.types import Array


class MLP(nn.Module):
  """Layers of the given sizes with an activation between them; the last is linear, and an `output_layer` if given."""

  sizes: Sequence[int]
  layer: Callable[..., nn.Module] = nn.Dense
  output_layer: Callable[..., nn.Module] | None = None
  activation: Callable[[Array], Array] = nn.relu

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    """`[..., n_in] -> [..., sizes[-1]]`."""
    hidden = inputs
    for index, size in enumerate(self.sizes):
      if index > 0:
        hidden = self.activation(hidden)
      is_output = index == len(self.sizes) - 1
      layer = self.output_layer if is_output and self.output_layer is not None else self.layer
      hidden = layer(size, name=f"layer_{index}")(hidden)
    return hidden
