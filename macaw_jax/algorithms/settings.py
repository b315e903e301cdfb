"""Configuration and signature: the settings of any algorithm as nested dicts, read from its factory.

A setting is a keyword argument of a factory that a configuration can hold: a number, a switch, text, sizes. Its type
and its default are those of the signature, and nowhere else. An argument whose default is a `Part` is a section of
settings, those of the part's own factory. Where there is a choice of parts (`CHOICES`), the section has a `name` beside
them. All other arguments, such as losses and optimisers, are set in Python alone.

A section with a choice may hold settings of every choice, so that choosing another part is a change of `name` alone.
Those that the chosen part does not take must have their default, and are passed over; with another value they are a
fault. Choices that share the name of a setting share its default.
"""

import difflib
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import jax

from macaw_jax.actor_critics import ACTOR_CRITICS
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.hyperparameters import Part
from macaw_jax.types import Algorithm, Array, Problem

Settings = Mapping[str, Any]  # nested: a section is a Mapping too

CHOICES: dict[str, Mapping[str, Callable[..., Any]]] = {"actor_critic": ACTOR_CRITICS}
"""For the name of an argument, the factories of parts to choose from; every other part has one factory."""

REFUSALS = (ArithmeticError, TypeError, ValueError)


def defaults_of(name: str) -> dict[str, Any]:
  """All settings of the algorithm, by the defaults of its factory."""
  factory = ALGORITHMS[name]
  sections = {section: _section_defaults(section, default) for section, default in _parts(factory).items()}
  return {setting: parameter.default for setting, parameter in _settable(factory).items()} | sections


def types_of(name: str) -> dict[str, type]:
  """The type of each setting by its dotted name, where None may stand in its place too: `Sequence[int]` is a tuple."""
  factory = ALGORITHMS[name]
  found = {setting: _type(parameter) for setting, parameter in _settable(factory).items()}
  for section, default in _parts(factory).items():
    if section in CHOICES:
      found[f"{section}.name"] = str
    for setting, parameter in _union(section, default).items():
      found[f"{section}.{setting}"] = _type(parameter)
  return found


def make_algorithm(
  name: str, problem: Problem, settings: Settings, overrides: Mapping[str, Any] | None = None
) -> Algorithm:
  """The algorithm with these settings, and the factory's default for each that is not among them.

  Args:
    name: A name in `ALGORITHMS`.
    problem: Sizes and discount of the data.
    settings: Nested, without the algorithm's own name.
    overrides: Values by dotted name, as `{"actor_critic.temperature": value}`, in place of those of the settings. They
      may be traced.

  Raises:
    TypeError: for an unknown setting, or a section that is none. ValueError: for one outside its range, an unknown name of a choice, or a setting
      that the chosen part does not take.
  """
  factory = ALGORITHMS[name]
  parts = _parts(factory)
  arguments = {
    setting: _make_part(setting, parts[setting], value) if setting in parts else _plain(value)
    for setting, value in with_values(settings, overrides or {}).items()
  }
  return factory(problem, **arguments)


def flat(settings: Settings) -> dict[str, Any]:
  """The values by dotted name."""
  found: dict[str, Any] = {}
  for name, value in settings.items():
    found |= {f"{name}.{inner}": v for inner, v in flat(value).items()} if isinstance(value, Mapping) else {name: value}
  return found


def with_values(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
  """The nested settings with these values, by dotted name, in place of their own."""
  changed = dict(settings)
  for dotted, value in values.items():
    name, _, rest = dotted.partition(".")
    changed[name] = with_values(changed.get(name, {}), {rest: value}) if rest else value
  return changed


def setting_faults(name: str, problem: Problem, settings: Settings, place: str = "config.algorithm") -> dict[str, str]:
  """A line for each setting that is unknown, of a wrong type or refused alone, by its dotted name.

  `place` is the section that has them. A factory raises at the first value that it refuses; each value is therefore
  tried alone, beside the factory's defaults. Values that exclude each other are for `refusal_of` all settings.
  """
  factory = ALGORITHMS[name]
  parts = _parts(factory)
  own = {setting: value for setting, value in settings.items() if setting not in parts}
  known = {**_settable(factory), **parts}
  faults = _faults(name, _settable(factory), known, own, place, lambda values: refusal_of(name, problem, values))
  for section in parts.keys() & settings.keys():
    found = _section_faults(name, problem, section, parts[section], settings[section], f"{place}.{section}")
    faults |= {f"{section}.{setting}" if setting else section: line for setting, line in found.items()}
  return faults


def refusal_of(name: str, problem: Problem, settings: Settings) -> str | None:
  """Why the algorithm's factory refuses these settings, or None."""
  try:
    # Traced, it asks JAX for no device: nothing may, before the processes of a run are connected.
    jax.eval_shape(lambda: _built(name, problem, settings, {}))
  except REFUSALS as error:
    return str(error)
  return None


def can_be_traced(name: str, problem: Problem, settings: Settings, setting: str) -> bool:
  """Whether the algorithm's factory takes this setting, by its dotted name, as a traced value, as members' values are.

  Settings that decide shapes or the program it does not. `settings` are all, with a number or a bool for this one.
  """
  traced = jax.ShapeDtypeStruct((), bool if isinstance(flat(settings)[setting], bool) else float)
  try:
    jax.eval_shape(lambda value: _built(name, problem, settings, {setting: value}), traced)
  except REFUSALS:
    return refusal_of(name, problem, settings) is not None  # Whatever it is: no fault of this one.
  return True


def suggestion(name: str, known: Iterable[str], section: str) -> str:
  """A likely meaning of an unknown name: the nearest of those known, or all of them."""
  nearest = nearest_name(name, known)
  return f"did you mean {section}.{nearest}?" if nearest else f"{section} has {', '.join(known)}"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
  """The name most like an unknown one, if there is one that is much like it."""
  return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)), None)


def _built(name: str, problem: Problem, settings: Settings, overrides: Mapping[str, Array]) -> None:
  make_algorithm(name, problem, settings, overrides)


def _keywords(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  parameters = inspect.signature(factory).parameters.values()
  return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _settable(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  """The keyword arguments of a factory that a configuration can hold as they are."""
  return {
    name: parameter
    for name, parameter in _keywords(factory).items()
    if all(kind in _KINDS for kind in _alternatives(parameter.annotation))
  }


def _parts(factory: Callable[..., Any]) -> dict[str, Part]:
  """The default of each argument that is a part."""
  defaults = {name: parameter.default for name, parameter in _keywords(factory).items()}
  return {name: default for name, default in defaults.items() if isinstance(default, Part)}


def _choices(section: str, default: Part) -> dict[str, Callable[..., Any]]:
  """The factories of a section by name, that of the default part first; under no name where there is no choice."""
  known = CHOICES.get(section, {"": default.factory})
  return dict(sorted(known.items(), key=lambda item: item[1] is not default.factory))


def _union(section: str, default: Part) -> dict[str, inspect.Parameter]:
  """The settings that some choice takes."""
  found: dict[str, inspect.Parameter] = {}
  for factory in _choices(section, default).values():
    found = _settable(factory) | found
  return found


def _section_defaults(section: str, default: Part) -> dict[str, Any]:
  union = {setting: parameter.default for setting, parameter in _union(section, default).items()}
  defaults = union | {setting: default.settings[setting] for setting in union if setting in default.settings}
  return {"name": next(iter(_choices(section, default)))} | defaults if section in CHOICES else defaults


def _chosen(section: str, default: Part, values: Settings) -> tuple[str, Callable[..., Any]]:
  """Name and factory of the chosen part. Raises TypeError for no section, ValueError for an unknown name."""
  if not isinstance(values, Mapping):
    raise TypeError(f"{section}={values!r} must be a section of settings")
  choices = _choices(section, default)
  name = values.get("name", next(iter(choices))) if section in CHOICES else ""
  if name not in choices:
    raise ValueError(f"name={name!r} is unknown; choose one of {', '.join(sorted(choices))}")
  return name, choices[name]


def _make_part(section: str, default: Part, values: Settings) -> Any:
  """The chosen part with these settings; those that it does not take must have their default."""
  chosen, factory = _chosen(section, default, values)
  base = default.settings if factory is default.factory else {}
  own = {setting: value for setting, value in values.items() if not (setting == "name" and section in CHOICES)}
  for setting in _not_taken(section, default, values):
    if not _is_default(own.pop(setting), _section_defaults(section, default)[setting]):
      raise ValueError(f"{section}.{setting}: {chosen!r} does not take it")
  return factory(**{**base, **{setting: _plain(value) for setting, value in own.items()}})


def _not_taken(section: str, default: Part, values: Settings) -> list[str]:
  """The settings of a section that another choice takes and the chosen one does not."""
  _, factory = _chosen(section, default, values)
  return [name for name in values if name in _union(section, default) and name not in _settable(factory)]


def _section_faults(
  algorithm: str, problem: Problem, section: str, default: Part, values: Any, place: str
) -> dict[str, str]:
  """The faults of a section by setting; under no name that of the section itself."""
  if not isinstance(values, Mapping):
    return {"": f"{place} = {values!r}: expected a section of settings"}
  try:
    chosen, factory = _chosen(section, default, values)
  except ValueError as error:
    return {"name": f"{place}.name = {values['name']!r}: {_without_value(str(error), values['name'])}"}
  name = {"name": chosen} if section in CHOICES else {}
  not_taken, defaults = _not_taken(section, default, values), _section_defaults(section, default)
  own = {setting: value for setting, value in values.items() if setting not in {*name, *not_taken}}
  owner = f"{section} {chosen!r}" if chosen else f"{section} of {algorithm}"

  def refused(alone: Settings) -> str | None:
    return refusal_of(algorithm, problem, {section: name | dict(alone)})

  return _faults(owner, _settable(factory), _settable(factory), own, place, refused) | {
    setting: f"{place}.{setting} = {values[setting]!r}: {chosen!r} does not take it"
    for setting in not_taken
    if not _is_default(values[setting], defaults[setting])
  }


def _faults(
  owner: str,
  settable: Mapping[str, inspect.Parameter],
  known: Iterable[str],
  values: Settings,
  place: str,
  refused: Callable[[Settings], str | None],
) -> dict[str, str]:
  faults = {}
  for name, value in values.items():
    if name not in settable:
      # Without a list of all others: whoever changes the algorithm meets many names that the new one does not have.
      nearest = nearest_name(name, known)
      meant = f"; did you mean {place}.{nearest}?" if nearest else ""
      faults[name] = f"{place}.{name} is no setting of {owner}{meant}"
    elif not _is_of(value, settable[name].annotation):
      faults[name] = f"{place}.{name} = {value!r}: expected {_describe(settable[name].annotation)}"
    elif refusal := refused({name: value}):
      faults[name] = f"{place}.{name} = {value!r}: {_without_value(refusal, value)}"
  return faults


def _plain(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value


def _is_default(value: Any, default: Any) -> bool:
  return not isinstance(value, Array) and bool(_plain(value) == _plain(default))


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


_KINDS: dict[Any, tuple[type, Callable[[Any], bool], str]] = {
  bool: (bool, lambda value: isinstance(value, bool), "True or False"),
  int: (int, _is_integer, "an integer"),
  float: (
    float,
    lambda value: _is_integer(value) or (isinstance(value, float) and math.isfinite(value)),
    "a finite number",
  ),
  str: (str, lambda value: isinstance(value, str), "text"),
  Sequence[int]: (
    tuple,
    lambda value: isinstance(value, tuple | list) and all(map(_is_integer, value)),
    "integers, as (100, 100)",
  ),
  types.NoneType: (types.NoneType, lambda value: value is None, "None"),
}


def _alternatives(annotation: Any) -> tuple[Any, ...]:
  return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _type(parameter: inspect.Parameter) -> type:
  return _KINDS[_alternatives(parameter.annotation)[0]][0]


def _is_of(value: Any, annotation: Any) -> bool:
  return any(_KINDS[kind][1](value) for kind in _alternatives(annotation))


def _describe(annotation: Any) -> str:
  return " or ".join(_KINDS[kind][2] for kind in _alternatives(annotation))


def _without_value(refusal: str, value: Any) -> str:
  """`temperature=-1.0 must be positive` as `must be positive`: name and value are there to read already."""
  shown = re.escape(repr(tuple(value) if isinstance(value, list) else value))
  return re.sub(rf"^\w+(={shown}|\({shown}\):) (is )?", "", refusal)
