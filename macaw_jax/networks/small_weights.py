"""Multilayer perceptrons that start near zero, as policy-gradient agents do: their first actions are all alike."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from macaw_jax.hyperparameters import check_choice
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array

INITIAL_STD = 0.1  # of a weight, before it is cut at two of them

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": nn.tanh, "relu": nn.relu, "identity": lambda inputs: inputs}


def small_weights_mlp(sizes: Sequence[int], activation: str) -> MLP:
  """An `MLP` whose weights start as Normal(0, 0.1^2) cut at +-0.2, and whose biases start at zero.

  Raises ValueError, with the known names, for any other activation.
  """
  check_choice(ACTIVATIONS, activation=activation)
  layer = functools.partial(nn.Dense, kernel_init=jax.nn.initializers.truncated_normal(INITIAL_STD))
  return MLP(tuple(sizes), layer, activation=ACTIVATIONS[activation])
