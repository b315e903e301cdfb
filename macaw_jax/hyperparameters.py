"""Hyper-parameters are numbers and switches; in a population they are traced, one value for each member.

What an algorithm's factory does with a float or a bool must therefore work on a tracer: no `if` on it, no `math`. A
bool that decides the shape of the program is the exception, and members cannot differ in it.
"""

import jax
import jax.numpy as jnp

from macaw_jax.types import Array


def require(condition: bool | Array, message: str) -> None:
  """Raises ValueError with `message` if the condition is false.

  A condition on traced values passes: they are checked one by one before a population is traced.
  """
  if not isinstance(condition, jax.core.Tracer) and not condition:
    raise ValueError(message)


def stop_gradient_if(condition: bool | Array, value: Array) -> Array:
  """`value`, held fixed in differentiation where the condition is true."""
  if isinstance(condition, bool):
    return jax.lax.stop_gradient(value) if condition else value
  return jnp.where(condition, jax.lax.stop_gradient(value), value)


def inverse_softplus(value: float | Array) -> Array:
  """The inverse of softplus, x = log(exp(value) - 1). Raises ValueError unless the value is positive."""
  require(value > 0, f"inverse_softplus({value}): the value must be positive")
  return value + jnp.log(-jnp.expm1(-jnp.asarray(value, float)))
