"""The factory of an algorithm by its name: one of the package, or one of your own.

macaw                  an algorithm of the package, a name in `ALGORITHMS`
my_file:my_method      `my_method` in the module `my_file`: `(problem, *, settings) -> Algorithm`; it learns from
                       recorded data
"""

import functools
import inspect
from types import ModuleType
from typing import Any

from macaw_jax.algorithms import ALGORITHMS, RECORDED, MakeAlgorithm
from macaw_jax.errors import ConfigurationError, error_in
from macaw_jax.own_modules import attribute_of, import_own, is_own
from macaw_jax.types import Algorithm, Problem

EXPECTED = "or <module>:<factory> of your own"


def factory_of(name: str) -> MakeAlgorithm:
  """The factory of the algorithm.

  Raises:
    ConfigurationError: no algorithm has this name, or one of your own is no factory; in one line.
  """
  if name in ALGORITHMS:
    return ALGORITHMS[name]
  if not is_own(name):
    raise ConfigurationError(f"no algorithm is called {name!r}; expected one of {', '.join(ALGORITHMS)}, {EXPECTED}")
  what, (module_name, attribute) = f"algorithm {name!r}", name.split(":")
  module = import_own(what, module_name)
  expected = ", ".join(_candidates(module)) or "a function (problem, *, settings) -> Algorithm; there is none"
  found = attribute_of(what, module, attribute, expected)
  if not _is_factory(found):
    raise ConfigurationError(
      f"{what}: {attribute} of {module.__file__} must be a function whose one positional argument is the problem; its "
      "settings are keyword-only"
    )
  return _checked(what, found, module.__file__ or module_name)


def learns_from_recorded_data(name: str) -> bool:
  """Whether an algorithm of this name learns from a dataset; one of your own does, and is not imported to find out."""
  return name in RECORDED or is_own(name)


def short_name(name: str) -> str:
  """The name of an algorithm in those of files and folders: `my_file:my_method` gives `my_method`."""
  return name.rpartition(":")[2]


def _checked(what: str, factory: MakeAlgorithm, file: str) -> MakeAlgorithm:
  """The factory, whose errors are `ConfigurationError`s; TypeError and ValueError are what it says of its settings."""

  @functools.wraps(factory)
  def make(problem: Problem, **settings: Any) -> Algorithm:
    try:
      found = factory(problem, **settings)
    except (TypeError, ValueError):
      raise
    except Exception as error:
      raise ConfigurationError(f"{what}: {file}: {error_in(file, error)}") from error
    if not isinstance(found, Algorithm):
      raise ConfigurationError(f"{what}: expected an Algorithm, {file} returns {found!r}")
    return found

  return make


def _is_factory(value: object) -> bool:
  if not callable(value):
    return False
  positional = [
    parameter
    for parameter in inspect.signature(value).parameters.values()
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    and parameter.default is parameter.empty
  ]
  return len(positional) == 1


def _candidates(module: ModuleType) -> list[str]:
  """The functions of a module's own that may be meant."""
  return [
    name
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__ and _is_factory(value)
  ]
