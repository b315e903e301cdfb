"""MAML+AWR: meta-learned advantage-weighted regression, the baseline of Mitchell et al. 2021 (section 5).

MACAW with one term less: neither advantage head nor advantage regression in the inner policy step.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from macaw_jax.algorithms.macaw import macaw
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


maml_awr = with_fixed("maml_awr", macaw, advantage_coefficient=None, relu_action=True)
"""`macaw` without an advantage head; it takes all arguments of `macaw` but those of the head."""
