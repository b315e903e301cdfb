"""An algorithm that is another one with some of its arguments fixed."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from macaw_jax.types import Algorithm


def with_fixed(name: str, factory: Callable[..., Algorithm], **fixed: Any) -> Callable[..., Algorithm]:
  """The factory with these keyword arguments, under a name of its own.

  As `functools.partial`, but that the fixed arguments are gone from its signature: to pass one is a TypeError.
  """
  signature = inspect.signature(factory)
  left = [parameter for parameter in signature.parameters.values() if parameter.name not in fixed]

  @functools.wraps(factory)
  def variant(*positional: Any, **settings: Any) -> Algorithm:
    if known := settings.keys() & fixed.keys():
      raise TypeError(f"{name}() got an unexpected keyword argument {min(known)!r}")
    return factory(*positional, **fixed, **settings)

  variant.__name__ = name
  vars(variant)["__signature__"] = signature.replace(parameters=left)
  return variant
