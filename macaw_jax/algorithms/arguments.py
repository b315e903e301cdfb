"""What the factories of algorithms share: arguments that are passed on, and arguments that make no sense."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from macaw_jax.hyperparameters import require
from macaw_jax.types import Array

Factory = TypeVar("Factory", bound=Callable[..., Any])


def passes_arguments_to(*inner: Callable[..., Any], but: Sequence[str] = ()) -> Callable[[Factory], Factory]:
  """Gives what it decorates the keyword arguments of `inner`, but for those named in `but`, and no others.

  For a factory whose `**arguments` go to `inner` unseen: `inspect.signature` then tells every hyper-parameter, with
  its type and its default, and an argument that it does not tell is a TypeError.
  """

  def decorate(factory: Factory) -> Factory:
    own = inspect.signature(factory)
    named = [parameter for parameter in own.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    passed_on = [
      parameter
      for called in inner
      for parameter in inspect.signature(called).parameters.values()
      if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in but
    ]
    signature = own.replace(parameters=[*named, *passed_on])

    @functools.wraps(factory)
    def checked(*positional: Any, **arguments: Any) -> Any:
      if unknown := sorted(arguments.keys() - signature.parameters.keys()):
        raise TypeError(f"{factory.__name__}() got an unexpected keyword argument {unknown[0]!r}")
      return factory(*positional, **arguments)

    vars(checked)["__signature__"] = signature
    return cast(Factory, checked)

  return decorate


def split_arguments(inner: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
  """The keyword arguments that `inner` takes, and the others."""
  parameters = inspect.signature(inner).parameters
  taken = {name: value for name, value in arguments.items() if name in parameters}
  return taken, {name: value for name, value in arguments.items() if name not in taken}


def check_hidden_sizes(**hidden_sizes: Sequence[int]) -> None:
  """Raises ValueError unless there is a hidden layer, and every one has a width."""
  for name, widths in hidden_sizes.items():
    if not widths or min(widths) < 1:
      raise ValueError(f"{name}={tuple(widths)} must be one or more positive widths")


def check_counts(**counts: int) -> None:
  """Raises ValueError for a count below one."""
  for name, count in counts.items():
    if count < 1:
      raise ValueError(f"{name}={count} must be at least 1")


def check_learning_rates(decay_steps: int | None, **learning_rates: float | Array) -> None:
  """Raises ValueError for a learning rate below zero, or a decay over fewer updates than one."""
  if decay_steps is not None and decay_steps < 1:
    raise ValueError(f"decay_steps={decay_steps} must be at least 1")
  for name, rate in learning_rates.items():
    require(rate >= 0, f"{name}={rate} must not be negative")


def check_shares(**shares: float | Array) -> None:
  """Raises ValueError for a number outside [0, 1]."""
  for name, share in shares.items():
    require((share >= 0) & (share <= 1), f"{name}={share} must lie in [0, 1]")
