"""Which operation of a function gives the first NaN or infinity of its result.

The function is traced and its operations are computed one by one. Each value that is not finite keeps where it comes
from, so that what is named is the origin of what came out: not a NaN that a `where` discards, and not the minus
infinities of a mask. `jax.debug_nans` would stop there.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from macaw_jax.types import Array

# Whose lines are not named: that of the code that calls them is.
LIBRARIES = tuple(str(Path(library.__file__).parent) for library in (jax, flax, optax) if library.__file__)
# What computes a program of its own as it stands; names differ between versions of JAX.
INLINED = (
  "jit",
  "pjit",
  "closed_call",
  "core_call",
  "checkpoint",
  "remat",
  "remat2",
  "custom_jvp_call",
  "custom_vjp_call",
)
MOST_OPERANDS = 3  # in a description


class _Origin(NamedTuple):
  order: int  # of the operations that are one
  text: str


CONSTANT = _Origin(0, "a constant of the program")


class _Traced(NamedTuple):
  """A value, whether it has NaNs and infinities, and where the first of them comes from."""

  value: Any
  has_nan: bool = False
  has_inf: bool = False
  origin: _Origin | None = None

  @property
  def is_finite(self) -> bool:
    return not (self.has_nan or self.has_inf)


class _Place(NamedTuple):
  """Where in the user's code an operation is; `gradient` if it is part of the derivative of what stands there."""

  text: str = "an unknown line"
  gradient: bool = False


def first_non_finite(function: Callable[..., Any], *arguments: Any) -> str | None:
  """Describes the operation from which the first value of `function(*arguments)` that is not finite comes.

  Args:
    function: pure; it is traced, and computed operation by operation.
    arguments: pytrees of arrays.

  Returns:
    Operation, file and line, and the range of what it was given; or the name of the argument that was not finite to
    begin with. None if the result is finite.
  """
  arguments = jax.tree.map(jnp.asarray, arguments)
  inputs = [
    _trace(leaf, _Origin(0, f"argument {jax.tree_util.keystr(at)} is not finite to begin with"))
    for at, leaf in jax.tree_util.tree_leaves_with_path(arguments)
  ]
  outputs = _evaluate(jax.make_jaxpr(function)(*arguments), inputs, _Place(), itertools.count(1))
  origins = [output.origin for output in outputs if output.origin is not None]
  return min(origins).text if origins else None


def _evaluate(
  closed: ClosedJaxpr, inputs: Sequence[_Traced], outer: _Place, operations: Iterator[int]
) -> list[_Traced]:
  jaxpr = closed.jaxpr
  constants = [_trace(value, CONSTANT) for value in closed.consts]
  environment = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))
  last_use = {
    variable: index
    for index, equation in enumerate(jaxpr.eqns)
    for variable in equation.invars
    if not isinstance(variable, Literal)
  }
  kept = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}

  def read(variable: Any) -> _Traced:
    if isinstance(variable, Literal):
      aval: Any = variable.aval
      return _trace(jnp.asarray(variable.val, aval.dtype), CONSTANT)
    return environment[variable]

  for index, equation in enumerate(jaxpr.eqns):
    operands = [read(variable) for variable in equation.invars]
    outputs = _compute(equation, operands, _place(equation, outer), operations)
    environment.update(zip(equation.outvars, outputs, strict=True))
    for variable in {v for v in equation.invars if not isinstance(v, Literal)} - kept:
      if last_use[variable] == index:
        environment.pop(variable, None)
  return [read(variable) for variable in jaxpr.outvars]


def _compute(
  equation: JaxprEqn, operands: Sequence[_Traced], place: _Place, operations: Iterator[int]
) -> list[_Traced]:
  """The results of one equation. What is within it is looked at only if they are not finite for a new reason."""
  results = [_trace(value) for value in _bind(equation, [operand.value for operand in operands])]
  nan = next((operand.origin for operand in operands if operand.has_nan), None)
  inf = next((operand.origin for operand in operands if operand.has_inf), None)
  # A NaN is explained by a NaN only, an infinity by either.
  origins = [None if each.is_finite else nan if each.has_nan else nan or inf for each in results]
  is_new = [origin is None and not each.is_finite for origin, each in zip(origins, results, strict=True)]
  if any(is_new):
    within = _within(equation, operands, place, operations) or [None] * len(results)
    here = _Origin(next(operations), _describe(equation, operands, results, place, inf))
    origins = [inside or here if new else old for inside, new, old in zip(within, is_new, origins, strict=True)]
  return [each._replace(origin=origin) for each, origin in zip(results, origins, strict=True)]


def _bind(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
  """The results of one equation."""
  parameters = equation.primitive.get_bind_params(equation.params)
  # Versions of JAX differ in whether functions come beside the parameters.
  functions, parameters = parameters if isinstance(parameters, tuple) else ((), parameters)
  with equation.ctx.manager:
    results = equation.primitive.bind(*functions, *values, **parameters)
  return list(results) if equation.primitive.multiple_results else [results]


def _within(
  equation: JaxprEqn, operands: Sequence[_Traced], place: _Place, operations: Iterator[int]
) -> list[_Origin | None] | None:
  """Where the results of an equation come from by what it is made of; None of one that is made of nothing."""
  match equation.primitive.name, equation.params:
    case "scan", {"jaxpr": body, "length": length, "reverse": back}:
      body = _closed(body)
      # Versions of JAX say differently how many there are of each. What is scanned has an axis more outside the body.
      num_carry = _num_alike(equation.outvars, body.jaxpr.outvars)
      num_constants = _num_alike(equation.invars, body.jaxpr.invars) - num_carry
      constants, carry = operands[:num_constants], list(operands[num_constants:][:num_carry])
      rows = operands[num_constants + num_carry :]
      origins: list[_Origin | None] = [None] * (len(body.jaxpr.outvars) - num_carry)
      for index in range(length)[:: -1 if back else 1]:
        of_step = [_trace(row.value[index], row.origin) for row in rows]
        outputs = _evaluate(body, [*constants, *carry, *of_step], place, operations)
        carry = outputs[:num_carry]
        origins = [old or new.origin for old, new in zip(origins, outputs[num_carry:], strict=True)]
      return [*(each.origin for each in carry), *origins]
    case "while", {"cond_jaxpr": goes_on, "cond_nconsts": skip, "body_jaxpr": body, "body_nconsts": num_constants}:
      tested, constants = operands[:skip], operands[skip:][:num_constants]
      carry = list(operands[skip + num_constants :])
      while bool(_evaluate(_closed(goes_on), [*tested, *carry], place, operations)[0].value):
        carry = _evaluate(_closed(body), [*constants, *carry], place, operations)
      return [each.origin for each in carry]
    case "cond", {"branches": branches}:
      chosen = min(max(int(operands[0].value), 0), len(branches) - 1)
      return [each.origin for each in _evaluate(_closed(branches[chosen]), operands[1:], place, operations)]
    case name, {"jaxpr": body} | {"call_jaxpr": body} if name in INLINED:
      return [each.origin for each in _evaluate(_closed(body), operands, place, operations)]
  return None


def _closed(body: Jaxpr | ClosedJaxpr) -> ClosedJaxpr:
  return ClosedJaxpr(body, ()) if isinstance(body, Jaxpr) else body


def _num_alike(outside: Sequence[Any], inside: Sequence[Any]) -> int:
  """How many variables have as many axes outside a body as inside."""
  return sum(len(one.aval.shape) == len(other.aval.shape) for one, other in zip(outside, inside, strict=True))


def _trace(value: Any, origin: _Origin | None = None) -> _Traced:
  if not jnp.issubdtype(value.dtype, jnp.inexact):
    return _Traced(value)
  has_nan, has_inf = map(bool, _flags(value))
  return _Traced(value, has_nan, has_inf, origin if has_nan or has_inf else None)


@jax.jit
def _flags(values: Array) -> tuple[Array, Array]:
  return jnp.any(jnp.isnan(values)), jnp.any(jnp.isinf(values))


def _place(equation: JaxprEqn, outer: _Place) -> _Place:
  """Of an equation; `outer` that of the one that it is in, where no line of the user's belongs to it alone."""
  gradient = outer.gradient or "transpose(" in str(equation.source_info.name_stack)
  traceback = equation.source_info.traceback
  frames: Sequence[Any] = traceback.frames if traceback is not None else ()
  for frame in frames:
    if not frame.file_name.startswith(LIBRARIES):
      file = Path(frame.file_name)
      shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
      return _Place(f"{shown}:{frame.line_num} ({frame.function_name})", gradient)
  return outer._replace(gradient=gradient)


def _describe(
  equation: JaxprEqn, operands: Sequence[_Traced], results: Sequence[_Traced], place: _Place, inf: _Origin | None
) -> str:
  where = f"in the derivative of {place.text}" if place.gradient else f"at {place.text}"
  given = ", ".join(_show(operand.value) for operand in operands[:MOST_OPERANDS])
  more = ", ..." if len(operands) > MOST_OPERANDS else ""
  gives = "NaN" if any(result.has_nan for result in results) else "an infinity"
  because = f"; the infinity comes from {inf.text}" if inf else ""
  return f"`{equation.primitive.name}` {where} gives {gives} from {given}{more}{because}"


def _show(value: Any) -> str:
  """`float32[5,256] in -0.3 to 2`."""
  text = f"{value.dtype}[{','.join(map(str, value.shape))}]"
  if not jnp.issubdtype(value.dtype, jnp.floating) or value.size == 0:
    return text
  lowest, highest = float(jnp.min(value)), float(jnp.max(value))
  return f"{text} of {lowest:.4g}" if lowest == highest else f"{text} from {lowest:.4g} to {highest:.4g}"
