"""Hyper-parameters: which numbers are refused, and parts of an algorithm that remember theirs.

Hyper-parameters are numbers and switches; in a population they are traced, one value for each member. A factory's work
on a float or a bool must therefore hold for a tracer: no `if` on it, no `math`. A bool that decides the shape of the
program is the exception, and members cannot differ in it.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import jax
import jax.numpy as jnp

from macaw_jax.types import Array

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of an algorithm as a value, beside the factory that made it and all settings of that factory.

  It is called as the value is, and has the value's attributes.
  """

  factory: Callable[..., Any]
  settings: Mapping[str, Any]
  value: Any

  def __call__(self, *arguments: Any, **named: Any) -> Any:
    """The value, called with the arguments."""
    return self.value(*arguments, **named)

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__"):  # Python asks for these, as in a copy that has no value yet.
      raise AttributeError(name)
    return getattr(self.value, name)

  def changed(self, **settings: Any) -> Any:
    """The part that the same factory makes with these settings in place of its own."""
    return self.factory(**{**self.settings, **settings})


def part(factory: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
  """Decorates a factory whose keyword arguments are settings: what it returns is a `Part`, which remembers them."""

  @functools.wraps(factory)
  def remembered(*arguments: Arguments.args, **settings: Arguments.kwargs) -> Made:
    value = factory(*arguments, **settings)
    bound = inspect.signature(factory).bind(*arguments, **settings)
    bound.apply_defaults()
    return cast(Made, Part(remembered, bound.arguments, value))

  return remembered


def require(condition: bool | Array, message: str) -> None:
  """Raises ValueError with `message` if the condition is false.

  A condition on traced values passes: they are checked one by one before a population is traced.
  """
  if not isinstance(condition, jax.core.Tracer) and not condition:
    raise ValueError(message)


def check_sizes(**sizes: Sequence[int]) -> None:
  """Raises ValueError unless there is a hidden layer, and every one has a width."""
  for name, widths in sizes.items():
    if not widths or min(widths) < 1:
      raise ValueError(f"{name}={tuple(widths)} must be one or more positive widths")


def check_counts(**counts: int | None) -> None:
  """Raises ValueError for a count below one; None counts nothing."""
  for name, count in counts.items():
    if count is not None and count < 1:
      raise ValueError(f"{name}={count} must be at least 1")


def check_positive(**numbers: float | Array) -> None:
  """Raises ValueError for a number that is not above zero."""
  for name, number in numbers.items():
    require(number > 0, f"{name}={number} must be positive")


def check_not_negative(**numbers: float | Array) -> None:
  """Raises ValueError for a number below zero."""
  for name, number in numbers.items():
    require(number >= 0, f"{name}={number} must not be negative")


def check_finite(**numbers: float | Array) -> None:
  """Raises ValueError for a number that is not finite."""
  for name, number in numbers.items():
    require(number * 0 == 0, f"{name}={number} must be finite")


def check_shares(**shares: float | Array) -> None:
  """Raises ValueError for a number outside [0, 1]."""
  for name, share in shares.items():
    require((share >= 0) & (share <= 1), f"{name}={share} must lie in [0, 1]")


def check_choice(choices: Sequence[str] | Mapping[str, Any], **names: str) -> None:
  """Raises ValueError, with all choices, for a name that is none of them."""
  for argument, name in names.items():
    if name not in choices:
      raise ValueError(f"{argument}={name!r} is unknown; choose one of {', '.join(sorted(choices))}")


def may_weigh(weight: float | Array) -> bool:
  """Whether a term of this weight has to be computed: not with a plain zero. A traced weight may be any number."""
  return isinstance(weight, jax.core.Tracer) or bool(weight != 0)


def stop_gradient_if(condition: bool | Array, value: Array) -> Array:
  """`value`, under a stop-gradient where the condition is true."""
  if isinstance(condition, bool):
    return jax.lax.stop_gradient(value) if condition else value
  return jnp.where(condition, jax.lax.stop_gradient(value), value)


def inverse_softplus(value: float | Array) -> Array:
  """The inverse of softplus, x = log(exp(value) - 1). Raises ValueError unless the value is positive."""
  require(value > 0, f"inverse_softplus({value}): the value must be positive")
  return value + jnp.log(-jnp.expm1(-jnp.asarray(value, float)))
