"""Configuration and signature: the settings of any algorithm as nested dicts, read from its factory.

A setting is a keyword argument of a factory that a configuration can hold: a number, a switch, text, sizes. Its type
and its default are those of the signature, and nowhere else. An argument whose default is a `Part` is a section of
settings, those of the part's own factory. Where there is a choice of parts (`CHOICES`), the section has a `name` beside
them. A value that has a name among others (`NAMED`) is set by it. All other arguments, such as losses and
optimisers, are set in Python alone.

A section with a choice may hold settings of every choice, so that choosing another part is a change of `name` alone.
Those that the chosen part does not take must have their default, and are passed over; with another value they are a
fault. Choices that share the name of a setting share its default.

Some settings are left to the data by the value None; `chosen_by_data` says what they become.
"""

import difflib
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Union, get_args, get_origin

import jax

from macaw_jax.actor_critics import ACTOR_CRITICS
from macaw_jax.algorithms.by_data import RULES
from macaw_jax.algorithms.lookup import factory_of
from macaw_jax.hyperparameters import Part, check_choice
from macaw_jax.json_files import flatten
from macaw_jax.learners.gradient_surgery import GRADIENT_SURGERIES, GradientSurgery
from macaw_jax.networks.cells import CELLS
from macaw_jax.types import Algorithm, Array, Problem

Settings = Mapping[str, Any]  # nested: a section is a Mapping too

CHOICES: dict[str, Mapping[str, Callable[..., Any]]] = {"actor_critic": ACTOR_CRITICS, "cell": CELLS}
"""For the name of an argument, the factories of parts to choose from; every other part has one factory."""

NAMED: dict[type, Mapping[str, Callable[[], Any]]] = {GradientSurgery: GRADIENT_SURGERIES}
"""For the type of an argument, what makes each value that a configuration has a name for."""


def defaults_of(name: str) -> dict[str, Any]:
  """All settings of the algorithm, by the defaults of its factory."""
  return with_values({}, {setting: known.default for setting, known in _known(name).items()})


def types_of(name: str) -> dict[str, type]:
  """The type of each setting by its dotted name, where None may stand in its place too: `Sequence[int]` is a tuple."""
  return {setting: _KINDS[_alternatives(known.annotation)[0]][0] for setting, known in _known(name).items()}


def make_algorithm(
  name: str, problem: Problem, settings: Settings, overrides: Mapping[str, Any] | None = None
) -> Algorithm:
  """The algorithm with these settings, and the factory's default for each that is not among them.

  Args:
    name: Of the algorithm (`algorithms.lookup`).
    problem: Sizes and discount of the data.
    settings: Nested, without the algorithm's own name.
    overrides: Values by dotted name, as `{"actor_critic.temperature": value}`, in place of those of the settings. They
      may be traced.

  Raises:
    TypeError: for an unknown setting. ValueError: for one outside its range, an unknown name of a choice, or a setting
      that the chosen part does not take.
  """
  factory = factory_of(name)
  parts, known = _parts(factory), _known(name)
  arguments = {
    setting: _make_part(setting, parts[setting], value, known) if setting in parts else _named(setting, value, known)
    for setting, value in with_values(settings, overrides or {}).items()
  }
  return factory(problem, **arguments)


def chosen_by_data(name: str, problem: Problem, settings: Settings) -> dict[str, Any]:
  """The settings that the algorithm leaves to the data (`algorithms.by_data`), each with the value that it takes.

  Args:
    name: Of the algorithm (`algorithms.lookup`).
    problem: Of the data.
    settings: Nested; one that is not among them has its default.
  """
  values = {**defaults_of(name), **settings}
  return {setting: RULES[setting](problem) for setting, value in values.items() if value is None and setting in RULES}


def with_values(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
  """The nested settings with these values, by dotted name, in place of their own."""
  changed = dict(settings)
  for dotted, value in values.items():
    name, _, rest = dotted.partition(".")
    section = changed.get(name)
    changed[name] = with_values(section if isinstance(section, Mapping) else {}, {rest: value}) if rest else value
  return changed


def setting_faults(name: str, problem: Problem, settings: Settings, place: str = "config.algorithm") -> dict[str, str]:
  """A line for each setting that is unknown, of a wrong type or refused alone, by its dotted name.

  `place` is the section that has them. A factory raises at the first value that it refuses; each value is therefore
  tried alone, beside the factory's defaults. Values that exclude each other are for `refusal_of` all settings.
  """
  known, values, faults = _known(name), flatten(settings), {}
  for setting, value in values.items():
    if setting not in known:
      # Without a list of all others: whoever changes the algorithm meets many names that the new one does not have.
      nearest = _nearest_setting(setting, known)
      faults[setting] = f"{setting} is no setting of {name}" + (f"; did you mean {place}.{nearest}?" if nearest else "")
    elif not _is_of(value, known[setting].annotation):
      faults[setting] = f"{setting} = {value!r}: expected {_describe(known[setting].annotation)}"
    else:
      choice = f"{setting.partition('.')[0]}.name"
      wanted = values.get(choice)
      is_choice = isinstance(wanted, str) and wanted in CHOICES.get(choice.removesuffix(".name"), {})
      chosen = {choice: wanted} if is_choice else {}
      if refusal := refusal_of(name, problem, with_values({}, {**chosen, setting: value})):
        faults[setting] = f"{setting} = {value!r}: {_without_value(refusal, value)}"
  return {setting: f"{place}.{line}" for setting, line in faults.items()}


def refusal_of(name: str, problem: Problem, settings: Settings) -> str | None:
  """The reason for which the algorithm's factory refuses these settings, or None."""
  return _refusal(name, problem, settings, {})


def can_be_traced(name: str, problem: Problem, settings: Settings, setting: str) -> bool:
  """Whether the algorithm's factory takes this setting, by its dotted name, as a traced value, as members' values are.

  Settings that decide shapes or the program it does not. `settings` are all, with a number or a bool for this one.
  """
  traced = jax.ShapeDtypeStruct((), bool if isinstance(flatten(settings)[setting], bool) else float)
  # A refusal without any traced value is no fault of this one.
  return _refusal(name, problem, settings, {setting: traced}) is None or refusal_of(name, problem, settings) is not None


def suggestion(name: str, known: Iterable[str], section: str) -> str:
  """A likely meaning of an unknown name: the nearest of those known, or all of them."""
  nearest = nearest_name(name, known)
  return f"did you mean {section}.{nearest}?" if nearest else f"{section} has {', '.join(known)}"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
  """The name most like an unknown one, if there is one that is much like it."""
  return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)), None)


def _nearest_setting(setting: str, known: Iterable[str]) -> str | None:
  """The setting whose last word is most like that of an unknown one; of equal ones that in the same section."""
  section, _, word = setting.rpartition(".")
  by_word = {name.rpartition(".")[2]: name for name in sorted(known, key=lambda name: name.startswith(f"{section}."))}
  return by_word.get(nearest_name(word, by_word) or "")


class _Known(NamedTuple):
  """A setting as a signature has it."""

  annotation: Any
  default: Any


def _known(name: str) -> dict[str, _Known]:
  """All settings of an algorithm by dotted name; those of every choice, the factory's own choice first."""
  own_factory = factory_of(name)
  known = _settable(own_factory)
  for section, part in _parts(own_factory).items():
    choices = CHOICES.get(section, {})
    if choices:
      known[f"{section}.name"] = _Known(str, next(n for n, factory in choices.items() if factory is part.factory))
    for factory in (part.factory, *choices.values()):
      for setting, (annotation, default) in _settable(factory).items():
        own = part.settings[setting] if factory is part.factory else default
        known.setdefault(f"{section}.{setting}", _Known(annotation, own))
  return known


def _settable(factory: Callable[..., Any]) -> dict[str, _Known]:
  """The keyword arguments that a configuration can hold as they are."""
  return {
    parameter.name: _Known(parameter.annotation, parameter.default)
    for parameter in inspect.signature(factory).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY and all(kind in _KINDS for kind in _alternatives(parameter.annotation))
  }


def _parts(factory: Callable[..., Any]) -> dict[str, Part]:
  """The default of each argument that is a part."""
  parameters = inspect.signature(factory).parameters.values()
  return {parameter.name: parameter.default for parameter in parameters if isinstance(parameter.default, Part)}


def _make_part(section: str, default: Part, values: Settings, known: Mapping[str, _Known]) -> Any:
  """The chosen part with these settings; those that it does not take must have their default."""
  if not isinstance(values, Mapping):
    raise TypeError(f"{section}={values!r} must be a section of settings")
  own, factory, choices = dict(values), default.factory, CHOICES.get(section, {})
  if choices and "name" in own:
    check_choice(choices, name=own["name"])
    factory = choices[own.pop("name")]
  for setting in [s for s in own if s not in _settable(factory) and f"{section}.{s}" in known]:
    if not _is_default(own.pop(setting), known[f"{section}.{setting}"].default):
      raise ValueError(f"{section}.{setting} is for another choice than {values.get('name')!r}")
  base = default.settings if factory is default.factory else {}
  return factory(**{**base, **{setting: _plain(value) for setting, value in own.items()}})


def _refusal(name: str, problem: Problem, settings: Settings, traced: Mapping[str, Any]) -> str | None:
  def build(overrides: Mapping[str, Array]) -> None:
    make_algorithm(name, problem, settings, overrides)

  try:
    jax.eval_shape(build, traced)  # It asks JAX for no device: nothing may, before a run's processes are connected.
  except (ArithmeticError, TypeError, ValueError) as error:
    return str(error)
  return None


def _named(setting: str, value: Any, known: Mapping[str, _Known]) -> Any:
  """The value of a setting, where a configuration may have its name."""
  kind = _alternatives(known[setting].annotation)[0] if setting in known else None
  if kind not in NAMED or not isinstance(value, str):
    return _plain(value)
  check_choice(NAMED[kind], **{setting: value})
  return NAMED[kind][value]()


def _plain(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value


def _is_default(value: Any, default: Any) -> bool:
  return not isinstance(value, Array) and bool(_plain(value) == _plain(default))


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_name_in(values: Mapping[str, Any]) -> Callable[[Any], bool]:
  return lambda value: isinstance(value, str) and value in values


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
  **{kind: (str, _is_name_in(values), f"one of {', '.join(values)}") for kind, values in NAMED.items()},
}


def _alternatives(annotation: Any) -> tuple[Any, ...]:
  return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _is_of(value: Any, annotation: Any) -> bool:
  return any(_KINDS[kind][1](value) for kind in _alternatives(annotation))


def _describe(annotation: Any) -> str:
  return " or ".join(_KINDS[kind][2] for kind in _alternatives(annotation))


def _without_value(refusal: str, value: Any) -> str:
  """`temperature=-1.0 must be positive` as `must be positive`: name and value are there to read already."""
  shown = re.escape(repr(tuple(value) if isinstance(value, list) else value))
  return re.sub(rf"^\w+(={shown}|\({shown}\):) (is )?", "", refusal)
