"""The only border to the module library: a Linen module as functions of explicit parameters."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from macaw_jax.types import Array, Key, Params


def init_params(module: nn.Module, key: Key, *inputs: Array) -> Params:
  """The module's parameters for inputs shaped like these."""
  return module.init(key, *inputs)["params"]


def forward(module: nn.Module, params: Params, *inputs: Array, method: Callable[..., Any] | None = None) -> Any:
  """The outputs of the module, or of one of its methods, for the inputs."""
  return module.apply({"params": params}, *inputs, method=method)


def forward_rows(module: nn.Module, params: Params, inputs: Array) -> Array:
  """`forward` of a module that treats every row alone, `[..., n] -> [..., m]`, with the rows on one axis.

  Products of matrices, and those of their gradients, then need no array transposed.
  """
  if inputs.ndim < 3:
    return forward(module, params, inputs)
  outputs = forward(module, params, inputs.reshape(-1, inputs.shape[-1]))
  return outputs.reshape(*inputs.shape[:-1], outputs.shape[-1])
