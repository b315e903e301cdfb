"""Families of one's own: found in a module by `module:attribute`, or through the entry point of a package."""

import inspect
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import jax

from macaw_jax.envs.check import check_family
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.inverse import with_state_of
from macaw_jax.errors import ConfigurationError, error_in
from macaw_jax.own_modules import attribute_of, import_own

GROUP = "macaw_jax.families"


def find_entry_point(name: str) -> EntryPoint | None:
  """The entry point of this name in the group `macaw_jax.families`; None where no installed package has one."""
  return next(iter(entry_points(group=GROUP, name=name)), None)


def own_family(name: str, module_name: str, attribute: str) -> TaskFamily:
  """The family that an attribute of a module is, or gives when it is called; checked, and called `name`.

  Raises:
    ConfigurationError: it is not there, an error was raised on the way, or its functions do not fit together.
  """
  what = f"family {name!r}"
  module = import_own(what, module_name)
  file = module.__file__ or module_name
  expected = ", ".join(_candidates(module)) or "a TaskFamily, or a function that gives one; there is none"
  family = found = attribute_of(what, module, attribute, expected)
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


def _candidates(module: ModuleType) -> list[str]:
  """The names in a module that may be meant: families, and functions of its own that take no argument."""
  return [
    name
    for name, value in vars(module).items()
    if isinstance(value, TaskFamily)
    or (inspect.isfunction(value) and value.__module__ == module.__name__ and not inspect.signature(value).parameters)
  ]
