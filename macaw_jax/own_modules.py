"""Task families and algorithms in a module of the user's own, named `module:attribute`."""

import importlib
import operator
import os
import re
import sys
import traceback
from types import ModuleType
from typing import Any

from macaw_jax.console import log
from macaw_jax.errors import ConfigurationError, error_in

_WORD = r"[^\W\d]\w*"
_OWN = re.compile(rf"{_WORD}(\.{_WORD})*:{_WORD}")


def is_own(name: str) -> bool:
  """Whether a name is of the form `module:attribute`; no module is imported to find out."""
  return _OWN.fullmatch(name) is not None


def import_own(what: str, module_name: str) -> ModuleType:
  """The module, which may lie in the working directory, as for `python -m`; logs where it was found.

  Args:
    what: for whom it is imported, as "family 'my_envs:reach'".
    module_name: dotted.

  Raises:
    ConfigurationError: there is none, or its import raised an error; in one line.
  """
  is_new = module_name not in sys.modules
  if not {"", os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())  # Last, so that no file there hides an installed package.
  importlib.invalidate_caches()
  try:
    module = importlib.import_module(module_name)
  except (Exception, SystemExit) as error:
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
      places = ", ".join(place or "." for place in sys.path)
      raise ConfigurationError(f"{what}: there is no module {error.name!r} in {places}") from error
    file = _file_that_failed(error)
    raise ConfigurationError(f"{what}: {file or module_name}: {error_in(file, error)}") from error
  if is_new:
    log(f"{what}: module {module_name} of {module.__file__}")
  return module


def attribute_of(what: str, module: ModuleType, attribute: str, expected: str) -> Any:
  """An attribute of such a module. Raises `ConfigurationError`, which says what was expected, where there is none."""
  try:
    return operator.attrgetter(attribute)(module)
  except AttributeError as error:
    raise ConfigurationError(
      f"{what}: {module.__file__ or module.__name__} has no {attribute!r}; expected {expected}"
    ) from error


def _file_that_failed(error: BaseException) -> str:
  """The file whose import raised an error; empty where none is known."""
  machinery = (__file__, importlib.__file__)
  for frame in traceback.extract_tb(error.__traceback__):
    if frame.filename not in machinery and not frame.filename.startswith("<frozen"):
      return frame.filename
  return error.filename or "" if isinstance(error, SyntaxError) else ""
