"""Families of one's own: found in a module by `module:attribute`, or through the entry point of a package."""

import importlib
import inspect
import operator
import os
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import jax

from macaw_jax.console import log
from macaw_jax.envs.check import check_family
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.inverse import with_state_of
from macaw_jax.errors import ConfigurationError, error_in

GROUP = "macaw_jax.families"


def find_entry_point(name: str) -> EntryPoint | None:
  """The entry point of this name in the group `macaw_jax.families`; None where no installed package has one."""
  return next(iter(entry_points(group=GROUP, name=name)), None)


def own_family(name: str, module_name: str, attribute: str) -> TaskFamily:
  """The family that an attribute of a module is, or gives when it is called; checked, and called `name`.

  Raises:
    ConfigurationError: it is not there, an error was raised on the way, or its functions do not fit together.
  """
  module = _import(name, module_name)
  file = module.__file__ or module_name
  try:
    found = operator.attrgetter(attribute)(module)
  except AttributeError as error:
    expected = ", ".join(_candidates(module)) or "a TaskFamily, or a function that gives one; there is none"
    raise ConfigurationError(f"family {name!r}: {file} has no {attribute!r}; expected {expected}") from error
  family = found
  if callable(found):
    try:
      family = found()
    except (Exception, SystemExit) as error:
      raise ConfigurationError(f"family {name!r}: {file}: {error_in(file, error)}") from error
  if not isinstance(family, TaskFamily):
    raise ConfigurationError(
      f"family {name!r}: {attribute} of {file} {'gives something' if callable(found) else 'is'} of type "
      f"{type(family).__name__}; expected a TaskFamily, or a function without arguments that gives one"
    )
  with jax.ensure_compile_time_eval():  # A family may be made while something else is traced.
    return with_state_of(check_family(family._replace(name=name, source=file), file))


def _import(name: str, module_name: str) -> ModuleType:
  """The module, which may lie in the working directory, as for `python -m`; logs where it was found."""
  is_new = module_name not in sys.modules
  if not {"", os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())  # Last, so that no file there hides an installed package.
  importlib.invalidate_caches()
  try:
    module = importlib.import_module(module_name)
  except (Exception, SystemExit) as error:
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
      places = ", ".join(place or "." for place in sys.path)
      raise ConfigurationError(f"family {name!r}: there is no module {error.name!r} in {places}") from error
    file = _file_that_failed(error)
    raise ConfigurationError(f"family {name!r}: {file or module_name}: {error_in(file, error)}") from error
  if is_new:
    log(f"family {name}: module {module_name} of {module.__file__}")
  return module


def _file_that_failed(error: BaseException) -> str:
  """The file whose import raised an error; empty where none is known."""
  machinery = (__file__, importlib.__file__)
  for frame in traceback.extract_tb(error.__traceback__):
    if frame.filename not in machinery and not frame.filename.startswith("<frozen"):
      return frame.filename
  return error.filename or "" if isinstance(error, SyntaxError) else ""


def _candidates(module: ModuleType) -> list[str]:
  """The names in a module that may be meant: families, and functions of its own that take no argument."""
  return [
    name
    for name, value in vars(module).items()
    if isinstance(value, TaskFamily)
    or (inspect.isfunction(value) and value.__module__ == module.__name__ and not inspect.signature(value).parameters)
  ]
