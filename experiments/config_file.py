"""The configuration of a command: `--config=<file>` makes it, `--config.<field>=<value>` replaces a field of it.

A file's `get_config()` returns the configuration; `--config=<file>:<argument>` hands it an argument. A value is read as
what the field holds, and whatever is wrong with the command is said at once.
"""

import ast
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections

from macaw_jax.algorithms.settings import nearest_name, suggestion
from macaw_jax.errors import ConfigurationError, error_in

from .variants import replaced_by_variants

EXPECTED_FILE = "expected --config=configs/<name>.py"


def take_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """The `--config.<field>=<value>` among the arguments of a command, and the other arguments.

  What stands behind `--config.<field>` without a value is its value; `--noconfig.<field>` is `--config.<field>=false`.
  """
  overrides: list[str] = []
  others: list[str] = []
  waiting = list(arguments)
  while waiting:
    argument = waiting.pop(0)
    matched = re.match(r"--?(no)?config\.([^=]*)(=.*)?$", argument, re.DOTALL)
    if argument == "--":
      return overrides, [*others, argument, *waiting]
    if matched is None:
      others.append(argument)
    elif matched[1]:
      overrides.append(f"--config.{matched[2]}=false")
    elif matched[3]:
      overrides.append(f"--config.{matched[2]}{matched[3]}")
    else:
      value = waiting.pop(0) if waiting and not re.match(r"-\D", waiting[0]) else ""
      overrides.append(f"--config.{matched[2]}={value}")
  return overrides, others


def make_config(
  locations: Sequence[str],
  overrides: Sequence[str],
  check: Callable[[ml_collections.ConfigDict], object],
) -> ml_collections.ConfigDict:
  """The locked configuration of a command.

  Args:
    locations: the values of `--config`.
    overrides: as `take_overrides` gives them.
    check: raises `ConfigurationError` for a configuration that cannot be used. It is called here only where an override
      is wrong, so that what is wrong besides is said with it.

  Raises:
    ConfigurationError: with all that is wrong, one line each; a field that is there twice is wrong.
  """
  if len(locations) > 1:
    raise ConfigurationError(f"command line: --config is there {len(locations)} times: {', '.join(locations)}")
  if not locations or not locations[0]:
    raise ConfigurationError(f"no configuration; {EXPECTED_FILE}")
  config = _call_get_config(locations[0])
  problems = _given_twice(overrides)
  for override in overrides:
    try:
      _override(config, override)
    except ConfigurationError as error:
      problems += (f"command line: {problem}" for problem in error.problems)
  replaced = replaced_by_variants(config, (_path(override) for override in overrides))
  problems += (f"command line: {problem}" for problem in replaced)
  config.lock()
  if problems:
    try:
      check(config)
    except ConfigurationError as error:
      problems += error.problems
    raise ConfigurationError(*problems)
  return config


def _call_get_config(location: str) -> ml_collections.ConfigDict:
  name, separator, argument = location.partition(":")
  file = _find(name)
  module = _attempt(file, lambda: _import(file))
  get_config = getattr(module, "get_config", None)
  if not callable(get_config):
    raise ConfigurationError(f"--config={file}: expected a function get_config in it")
  arguments = (argument,) if separator else ()
  try:
    inspect.signature(get_config).bind(*arguments)
  except TypeError as error:
    takes = "takes no argument" if separator else f"needs an argument; expected --config={file}:<argument>"
    raise ConfigurationError(f"--config={location}: its get_config {takes}") from error
  config = _attempt(location, lambda: get_config(*arguments))
  if not isinstance(config, ml_collections.ConfigDict):
    raise ConfigurationError(
      f"--config={location}: its get_config gave {config!r:.80}; expected an ml_collections.ConfigDict"
    )
  return config


def _find(name: str) -> str:
  """The file that `--config` names: a path, or a configuration of this project from any folder.

  Those are called `macaw` or `collect/any`, or by their path in the project, `configs/macaw.py`.
  """
  if os.path.isfile(name):  # no error either, whatever stands for a path
    return name
  folder = Path(__file__).parents[1] / "configs"
  ours = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("[!_]*.py")}
  short = name.removeprefix("configs/").removesuffix(".py")
  if short in ours:
    return str(ours[short])
  nearest = nearest_name(short, ours)
  raise ConfigurationError(
    f"--config={name}: no such file; {f'did you mean --config={nearest}?' if nearest else EXPECTED_FILE}"
  )


def _import(file: str) -> ModuleType:
  """The module in a file; one of a package, as configs/ is, can import from beside it."""
  path = Path(file).resolve()
  names, folder = [path.stem], path.parent
  while (folder / "__init__.py").is_file():
    names.insert(0, folder.name)
    folder = folder.parent
  if len(names) > 1:
    if str(folder) not in sys.path:
      sys.path.insert(0, str(folder))
    return importlib.import_module(".".join(names))
  loader = importlib.machinery.SourceFileLoader("config_file", str(path))
  module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
  loader.exec_module(module)
  return module


def _attempt(location: str, step: Callable[[], Any]) -> Any:
  """The result of the step; an error in the file becomes a line with its place in that file."""
  try:
    return step()
  except ConfigurationError as error:  # It says itself what was expected, and where.
    raise ConfigurationError(*(f"--config={location}: {problem}" for problem in error.problems)) from error
  except (Exception, SystemExit) as error:
    raise ConfigurationError(f"--config={location}: {error_in(location.partition(':')[0], error)}") from error


def _path(override: str) -> str:
  """The field of `--config.<field>=<value>`."""
  return override.removeprefix("--config.").partition("=")[0]


def _given_twice(overrides: Sequence[str]) -> list[str]:
  """A line for each field that is there more than once, with its values."""
  values: dict[str, list[str]] = {}
  for override in overrides:
    values.setdefault(_path(override), []).append(override.partition("=")[2])
  return [
    f"command line: --config.{path} is there {len(texts)} times: {', '.join(texts)}"
    for path, texts in values.items()
    if len(texts) > 1
  ]


def _override(config: ml_collections.ConfigDict, override: str) -> None:
  """Replaces a field by `--config.<field>=<value>`."""
  path, text = _path(override), override.partition("=")[2]
  names, field = path.split("."), config
  for depth, name in enumerate(names):
    section, place = field, ".".join(["config", *names[:depth]])
    if not isinstance(section, ml_collections.ConfigDict):
      raise ConfigurationError(f"the configuration has no field {path!r}; {place} is {section!r}")
    if name not in section:
      raise ConfigurationError(f"the configuration has no field {path!r}; {suggestion(name, list(section), place)}")
    field = section[name]
  if isinstance(field, ml_collections.ConfigDict):
    raise ConfigurationError(f"flag {override}: config.{path} has fields; expected --config.{path}.<field>=<value>")
  parse, expected = _PARSERS.get(section.get_type(names[-1]), (ast.literal_eval, "a value as Python writes it"))
  try:
    section[names[-1]] = parse(text)
  except (KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
    raise ConfigurationError(f"flag {override}: expected {expected}") from None


def _parse_bool(text: str) -> bool:
  return {"true": True, "1": True, "": True, "false": False, "0": False}[text.lower()]


def _parse_sequence(text: str) -> tuple[Any, ...]:
  value = ast.literal_eval(text)
  return tuple(value) if isinstance(value, tuple | list) else (value,)


_PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
  bool: (_parse_bool, "true or false"),
  int: (int, "an integer"),
  float: (float, "a number"),
  str: (str, "text"),
  tuple: (_parse_sequence, "values as (100, 100)"),
  list: (lambda text: list(_parse_sequence(text)), "values as [100, 100]"),
}
