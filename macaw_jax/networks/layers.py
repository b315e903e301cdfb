"""Layers that a gradient step can reshape: the weight transform of MACAW, and its bias-only relative.

Every layer multiplies its inputs by its weights with its `product`; weights themselves are generated in full precision.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_choice
from macaw_jax.networks.products import MATRIX_PRODUCTS, MatrixProduct
from macaw_jax.types import Array, Key, Params

WEIGHT_TRANSFORM_PARAMETERS = frozenset({"latent", "generator", "generator_bias"})


def is_weight_transform(node: Params) -> bool:
  """Whether `node` of a parameter tree holds the parameters of one `WeightTransform` layer."""
  return isinstance(node, dict) and node.keys() >= WEIGHT_TRANSFORM_PARAMETERS


def flatten_units(params: Params) -> tuple[list[Any], Any]:
  """`jax.tree.flatten` with the parameters of a weight-transform layer as one leaf: `(units, treedef)`."""
  return jax.tree.flatten(params, is_leaf=is_weight_transform)


def generate(generator: Array, latent: Array) -> Array:
  """The product M z, shaped as the weights it generates: `[L, n_in + 1, n_out], [L] -> [n_in + 1, n_out]`."""
  with jax.named_scope("generator"):
    return jnp.tensordot(latent, generator, axes=1)


def generate_transposed(generator: Array, cotangent: Array) -> Array:
  """The product M^T g: `[L, n_in + 1, n_out], [n_in + 1, n_out] -> [L]`."""
  # Mapped over tasks, the product is [L, T] and is transposed at once. On a CPU, XLA would fold the transposition into
  # the product, into a form that takes two to three times as long; the barrier keeps them apart.
  with jax.named_scope("generator"):
    return jax.lax.optimization_barrier(jnp.tensordot(generator, cotangent, axes=2))


def _uniform(bound: float) -> Callable[..., Array]:
  def init(key: Key, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  return init


class WeightTransform(nn.Module):
  """A dense layer whose weights are generated from a latent vector: theta = M z + c, y = x W + b.

  The rows of theta `[n_in + 1, n_out]` are those of W and, last, b. Because M turns a step on z into a step on
  every weight, one gradient step moves the layer along a learned, layer-wide direction (Mitchell et al. 2021,
  "Offline Meta-Reinforcement Learning with Advantage Weighting", section 4.3).

  Initial values: z ~ Normal(0, std 1 / n_out), M and c ~ Uniform(-1/sqrt(L), 1/sqrt(L)), so that W starts near
  U(-0.1, 0.1) whatever the fan-in.

  Given `{weights}`, theta itself, in place of its own parameters, the layer uses that: adapted networks are passed on
  in this form, `L` times smaller.
  """

  features: int
  latent_size: int = 100
  product: MatrixProduct = jnp.matmul

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    """`[..., n_in] -> [..., n_out]`."""
    if self.has_variable("params", "weights"):
      weights: Array = self.get_variable("params", "weights")
    else:
      shape = (inputs.shape[-1] + 1, self.features)
      bound = self.latent_size**-0.5
      latent = self.param("latent", nn.initializers.normal(1.0 / self.features), (self.latent_size,))
      generator = self.param("generator", _uniform(bound), (self.latent_size, *shape))
      generator_bias = self.param("generator_bias", _uniform(bound), shape)
      weights = generate(generator, latent) + generator_bias
    return self.product(inputs, weights[:-1]) + weights[-1]


class BiasTransform(nn.Module):
  """A dense layer whose bias has a generated part: y = x W + b + beta V.

  W and b start as Uniform(-1/sqrt(n_in), 1/sqrt(n_in)), beta `[n_out]` as Normal(0, std 1 / n_out) and V
  `[n_out, n_out]` as Xavier-normal. The layer of MACAW's "no weight transform" ablation and of the multi-task
  baseline (Finn et al. 2017, "One-Shot Visual Imitation Learning via Meta-Learning", section 4.1).
  """

  features: int
  product: MatrixProduct = jnp.matmul

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    """`[..., n_in] -> [..., n_out]`."""
    fan_in = inputs.shape[-1]
    kernel = self.param("kernel", _uniform(fan_in**-0.5), (fan_in, self.features))
    bias = self.param("bias", _uniform(fan_in**-0.5), (self.features,))
    latent = self.param("latent", nn.initializers.normal(1.0 / self.features), (self.features,))
    bias_generator = self.param("bias_generator", nn.initializers.xavier_normal(), (self.features, self.features))
    return self.product(inputs, kernel) + bias + latent @ bias_generator


def dense(features: int, *, product: MatrixProduct, name: str | None = None) -> nn.Dense:
  """A dense layer without anything generated: y = x W + b, with the module library's initial values."""

  def dot_general(inputs: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    return product(inputs, kernel)

  return nn.Dense(features, dot_general=dot_general, name=name)


LAYERS: dict[str, Callable[..., nn.Module]] = {
  "weight_transform": WeightTransform,
  "bias_transform": BiasTransform,
  "dense": dense,
}


def make_layer(name: str, matmul_precision: str = "float32") -> Callable[..., nn.Module]:
  """The layer called `name`, `(features, name=...) -> module`, with products of that precision.

  Raises ValueError, with the known names, for any other layer or precision.
  """
  check_choice(LAYERS, layer=name)
  check_choice(MATRIX_PRODUCTS, matmul_precision=matmul_precision)
  return functools.partial(LAYERS[name], product=MATRIX_PRODUCTS[matmul_precision])
