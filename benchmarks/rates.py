"""The rates of a machine, measured; and the work of a compiled program, as XLA counts it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.measure import measure

FLOAT_BYTES = 4


def best(call: Callable[[], Any], repeats: int) -> float:
  """The shortest time of a call, in seconds."""
  call()
  return min(measure(call).wall for _ in range(repeats))


def product_rate(
  rows: int, inner: int, columns: int, *, products: int, repeats: int, dtype: Any = jnp.float32
) -> float:
  """Floating-point operations a second of products `[rows, inner] x [inner, columns]`."""
  left = jax.random.normal(jax.random.key(0), (products, rows, inner), dtype)
  right = jax.random.normal(jax.random.key(1), (inner, columns), dtype)
  multiply = jax.jit(lambda left, right: [matrix @ right for matrix in left])
  seconds = best(lambda: jax.block_until_ready(multiply(left, right)), repeats)
  return 2 * products * rows * inner * columns / seconds


def memory_rate(elements: int, *, repeats: int) -> float:
  """Bytes a second that are read and written by a pass over an array of floats where it stands."""
  array, scale_in_place = jnp.ones((elements,)), jax.jit(lambda x: 1.5 * x, donate_argnums=0)

  def scale() -> None:
    nonlocal array
    array = jax.block_until_ready(scale_in_place(array))

  return 2 * FLOAT_BYTES * elements / best(scale, repeats)


def flops_of(function: Callable[..., Any], *arguments: Any) -> float | None:
  """Floating-point operations of a call, the body of a loop counted once; None where XLA does not count them.

  They are those of the program as it is written, before it is compiled: libraries that a compiler calls for products
  hide them. Accelerators do not count them, so that the program is taken as one for a CPU.
  """
  shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
  try:
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
      counts: Any = jax.jit(function).lower(*shapes).cost_analysis()
    return float(counts["flops"])
  except (RuntimeError, NotImplementedError, KeyError, TypeError):
    return None


def bytes_of(compiled: Any) -> float | None:
  """Bytes that a compiled program's operations read and write, the body of a loop counted once; None if unknown."""
  try:
    return float(compiled.cost_analysis()["bytes accessed"])
  except (RuntimeError, NotImplementedError, KeyError, TypeError):
    return None


def memory_of(compiled: Any) -> int | None:
  """Bytes that a compiled program holds while it runs: arguments, outputs beside them, temporary arrays."""
  analysis = compiled.memory_analysis()
  if analysis is None:
    return None
  sizes = {part: getattr(analysis, f"{part}_size_in_bytes") for part in ("argument", "output", "alias", "temp")}
  return sizes["argument"] + sizes["output"] - sizes["alias"] + sizes["temp"]
