"""The only border to the module library: a Linen module as functions of explicit parameters."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from macaw_jax.types import Array, Key, Network, Params


def as_network(module: nn.Module, *input_sizes: int) -> Network:
  """The module as `init(key)` and `apply(params, *inputs [..., n])`, one input of each of these sizes."""

  def init(key: Key) -> Params:
    return module.init(key, *(jnp.zeros((1, size)) for size in input_sizes))["params"]

  return Network(init, functools.partial(forward, module))


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
