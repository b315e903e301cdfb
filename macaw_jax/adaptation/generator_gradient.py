"""The meta-gradient of a generator in one product.

A generator M, `[L, n_in + 1, n_out]`, is by far the largest array of a network, and adaptation uses it only in
products M z and M^T g. With a and b the cotangents of these products, the gradient of M is a sum of outer products,
z a^T + b g^T for every inner step and task. Automatic differentiation writes a matrix of M's size for each of them and
adds them up. Here each product leaves its two vectors in a *tap*, and the gradient is one product of all that are left.

A tap is a pair of zero arrays that nothing reads; what arrives as their cotangents are the two vectors. Taps are made
outside of the map over tasks: inside, what one task leaves would be added to what the others leave before the product.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.networks.layers import flatten_units, generate, generate_transposed, is_weight_transform
from macaw_jax.types import Array, Params

TAPS = "taps"  # Beside a layer's parameters; modules do not look for it.


class Tap(NamedTuple):
  """Where U products leave their vectors."""

  latent: Array  # [U, L]
  weights: Array  # [U, n_in + 1, n_out]


class Taps(NamedTuple):
  """The taps of one layer."""

  shared: Tap  # U = 1: the product before the first step, the same for all tasks
  own: Tap  # of one task


def open_taps(
  net: Mapping[str, Params], num_products: Mapping[str, int], num_tasks: int
) -> tuple[dict[str, Params], dict[str, list[Tap]]]:
  """Routes the gradients of generators through taps.

  Args:
    net: the network's parts.
    num_products: for each part that adapts, how many products one task's adaptation makes with each generator, the
      first one, of the latent that tasks share, left out.
    num_tasks: T.

  Returns:
    The same parts, and for each part in `num_products` the taps `[T, U, ...]` of its weight-transform layers, in the
    order of the tree. A use of a generator that no tap knows of is differentiated as ever, and added.
  """
  opened = dict(net)
  taps: dict[str, list[Tap]] = {}
  for part, products in num_products.items():
    units, treedef = flatten_units(net[part])
    taps[part] = []
    for index, unit in enumerate(units):
      if is_weight_transform(unit):
        generator, shared, own = _tap(unit["generator"], num_tasks, products)
        units[index] = unit | {"generator": generator, TAPS: shared}
        taps[part].append(own)
    opened[part] = treedef.unflatten(units)
  return opened, taps


def attach_taps(net: Mapping[str, Params], taps: Mapping[str, list[Tap]]) -> dict[str, Params]:
  """Puts one task's taps, of `open_taps`, beside the parameters of their layers."""
  attached = dict(net)
  for part, own in taps.items():
    units, treedef = flatten_units(net[part])
    remaining = iter(own)
    attached[part] = treedef.unflatten(
      unit | {TAPS: Taps(unit[TAPS], next(remaining))} if is_weight_transform(unit) else unit for unit in units
    )
  return attached


def shared_weights(unit: Params) -> Array:
  """M z for the layer's own latent z: `[n_in + 1, n_out]`."""
  if TAPS not in unit:
    return generate(unit["generator"], unit["latent"])
  return _tapped_generate(unit["generator"], unit["latent"], _slot(unit[TAPS].shared, 0))


def adapted_weights(unit: Params, latent: Array, product: int) -> Array:
  """M z for a latent z that adaptation has reached; `product` is the number of this product, from 0."""
  if TAPS not in unit:
    return generate(unit["generator"], latent)
  return _tapped_generate(unit["generator"], latent, _slot(unit[TAPS].own, product))


def latent_gradient(unit: Params, gradient: Array, product: int) -> Array:
  """M^T g for a gradient g of the generated weights: `[L]`; `product` as in `adapted_weights`."""
  if TAPS not in unit:
    return generate_transposed(unit["generator"], gradient)
  return _tapped_generate_transposed(unit["generator"], gradient, _slot(unit[TAPS].own, product))


def _slot(tap: Tap, index: int) -> Tap:
  if not 0 <= index < tap.latent.shape[0]:
    raise ValueError(f"product {index} of an adaptation that announced {tap.latent.shape[0]}")
  return Tap(tap.latent[index], tap.weights[index])


def _tap(generator: Array, num_tasks: int, num_products: int) -> tuple[Array, Tap, Tap]:
  """The generator, a tap `[1, ...]` for the shared product and one `[T, U, ...]` for those of the tasks."""
  num_latents, *shape = generator.shape

  def zeros(*leading: int) -> Tap:
    return Tap(jnp.zeros((*leading, num_latents), generator.dtype), jnp.zeros((*leading, *shape), generator.dtype))

  @jax.custom_vjp
  def route(generator: Array) -> tuple[Array, Tap, Tap]:
    return generator, zeros(1), zeros(num_tasks, num_products)

  def forward(generator: Array) -> tuple[tuple[Array, Tap, Tap], None]:
    return route(generator), None

  def backward(_: None, cotangents: tuple[Array, Tap, Tap]) -> tuple[Array]:
    untapped, shared, own = cotangents
    latents = jnp.concatenate([shared.latent, own.latent.reshape(-1, num_latents)])
    weights = jnp.concatenate([shared.weights, own.weights.reshape(-1, *shape)])
    with jax.named_scope("generator"):
      return (untapped + jnp.einsum("ul,uio->lio", latents, weights),)

  route.defvjp(forward, backward)
  return route(generator)


def _tapped(
  product: Callable[[Array, Array], Array],
  transposed: Callable[[Array, Array], Array],
  vectors: Callable[[Array, Array], Tap],
) -> Callable[[Array, Array, Tap], Array]:
  """`product(generator, operand)`, whose backward pass leaves `vectors(operand, cotangent)` in a tap."""

  @jax.custom_vjp
  def tapped(generator: Array, operand: Array, tap: Tap) -> Array:
    return product(generator, operand)

  def forward(generator: Array, operand: Array, tap: Tap) -> tuple[Array, tuple[Array, Array]]:
    return product(generator, operand), (generator, operand)

  def backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[None, Array, Tap]:
    generator, operand = residuals
    return None, transposed(generator, cotangent), vectors(operand, cotangent)

  tapped.defvjp(forward, backward)
  return tapped


_tapped_generate = _tapped(generate, generate_transposed, Tap)
_tapped_generate_transposed = _tapped(
  generate_transposed, generate, lambda gradient, cotangent: Tap(cotangent, gradient)
)
