"""The matrix product of a layer's inputs with its weights, in single precision or in bfloat16."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from macaw_jax.types import Array

MatrixProduct = Callable[[Array, Array], Array]
"""`[..., n_in], [n_in, n_out] -> [..., n_out]`."""


@jax.custom_vjp
def bfloat16_product(inputs: Array, weights: Array) -> Array:
  """`inputs @ weights` of operands rounded to bfloat16, summed in the arguments' own precision.

  bfloat16 keeps 8 bits of each number, a relative error of at most 2^-8. The two products of the gradient, g W^T and
  x^T g, are of the same kind, and so are those of every further derivative.
  """
  return jnp.matmul(
    inputs.astype(jnp.bfloat16),
    weights.astype(jnp.bfloat16),
    preferred_element_type=jnp.result_type(inputs, weights),
  )


def _forward(inputs: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
  return bfloat16_product(inputs, weights), (inputs, weights)


# Written by hand: automatic differentiation multiplies float32 cotangents by bfloat16 operands, and rounds what the
# inputs receive to bfloat16 once more.
def _backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
  inputs, weights = residuals
  fan_in, fan_out = weights.shape
  rows = inputs.reshape(-1, fan_in)
  return bfloat16_product(cotangent, weights.T), bfloat16_product(rows.T, cotangent.reshape(-1, fan_out))


bfloat16_product.defvjp(_forward, _backward)

MATRIX_PRODUCTS: dict[str, MatrixProduct] = {"float32": jnp.matmul, "bfloat16": bfloat16_product}
