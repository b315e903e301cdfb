"""What is wrong with an algorithm's hyper-parameters, all of it, by the algorithm's factory itself.

The signature of a factory says names and types, and the factory refuses values. It raises at the first one; each value
is therefore tried alone as well, beside the factory's defaults.
"""

import difflib
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import jax

from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.types import Array, Problem


def hyperparameter_faults(
  algorithm: str, problem: Problem, values: Mapping[str, Any], place: str = "config.algorithm"
) -> dict[str, str]:
  """A line for each hyper-parameter that is unknown, missing, of a wrong type or refused alone, by its name.

  `place` is the section that has them.
  """
  factory = ALGORITHMS[algorithm]
  parameters = _settable(factory)
  faults = {
    name: f"{place}.{name} is missing; expected {_describe(parameter.annotation)}"
    for name, parameter in parameters.items()
    if parameter.default is parameter.empty and name not in values
  }
  for name, value in values.items():
    if name not in parameters:
      # Without a list of all others: whoever changes the algorithm meets many names that the new one does not have.
      nearest = nearest_name(name, parameters)
      meant = f"; did you mean {place}.{nearest}?" if nearest else ""
      faults[name] = f"{place}.{name} is no hyper-parameter of {algorithm}{meant}"
    elif not _is_of(value, parameters[name].annotation):
      expected = _describe(parameters[name].annotation)
      faults[name] = f"{place}.{name} = {value!r}: expected {expected}"
    elif refusal := refusal_of(algorithm, problem, {name: value}):
      faults[name] = f"{place}.{name} = {value!r}: {_without_value(refusal, value)}"
  return faults


def refusal_of(algorithm: str, problem: Problem, values: Mapping[str, Any]) -> str | None:
  """Why the algorithm's factory refuses these values, or None."""

  def build() -> None:
    ALGORITHMS[algorithm](problem, **values)

  try:
    # Traced, it asks JAX for no device: nothing may, before the processes of a run are connected.
    jax.eval_shape(build)
  except (ArithmeticError, TypeError, ValueError) as error:
    return str(error)
  return None


def can_be_traced(algorithm: str, problem: Problem, values: Mapping[str, Any], name: str) -> bool:
  """Whether the algorithm's factory takes this one of its hyper-parameters as a traced value, as members' values are.

  One that decides shapes, or what is in the program, it does not. `values` are those of all, a number or a bool of it.
  """
  traced = jax.ShapeDtypeStruct((), bool if isinstance(values[name], bool) else float)

  def build(value: Array) -> None:
    ALGORITHMS[algorithm](problem, **{**values, name: value})

  try:
    jax.eval_shape(build, traced)
  except (ArithmeticError, TypeError, ValueError):
    return refusal_of(algorithm, problem, values) is not None  # Whatever it is: no fault of this one.
  return True


def value_of(name: str, algorithm: str, values: Mapping[str, Any]) -> Any:
  """The value of a hyper-parameter, the factory's default where it is not given; None where the algorithm has none."""
  parameter = _settable(ALGORITHMS[algorithm]).get(name)
  return values.get(name, parameter.default) if parameter else None


def suggestion(name: str, known: Iterable[str], section: str) -> str:
  """What may have been meant by an unknown name: the nearest of those known, or all of them."""
  nearest = nearest_name(name, known)
  return f"did you mean {section}.{nearest}?" if nearest else f"{section} has {', '.join(known)}"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
  """The name most like an unknown one, if there is one that is much like it."""
  return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)), None)


def _settable(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  """The keyword arguments that a configuration can set, which has no functions."""
  return {
    parameter.name: parameter
    for parameter in inspect.signature(factory).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY and all(kind in _KINDS for kind in _alternatives(parameter.annotation))
  }


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
  bool: (lambda value: isinstance(value, bool), "True or False"),
  int: (_is_integer, "an integer"),
  float: (lambda value: _is_integer(value) or (isinstance(value, float) and math.isfinite(value)), "a finite number"),
  str: (lambda value: isinstance(value, str), "text"),
  Sequence[int]: (
    lambda value: isinstance(value, tuple | list) and all(map(_is_integer, value)),
    "integers, as (100, 100)",
  ),
  types.NoneType: (lambda value: value is None, "None"),
}


def _alternatives(annotation: Any) -> tuple[Any, ...]:
  return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _is_of(value: Any, annotation: Any) -> bool:
  return any(_KINDS[kind][0](value) for kind in _alternatives(annotation))


def _describe(annotation: Any) -> str:
  return " or ".join(_KINDS[kind][1] for kind in _alternatives(annotation))


def _without_value(refusal: str, value: Any) -> str:
  """`temperature=-1.0 must be positive` as `must be positive`: name and value are there to read already."""
  shown = re.escape(repr(tuple(value) if isinstance(value, list) else value))
  return re.sub(rf"^\w+(={shown}|\({shown}\):) (is )?", "", refusal)
