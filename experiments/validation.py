"""Kinds of runs, by where their batches come from, and the check of a configuration as a whole.

Nothing is compiled, and no array is loaded, before a configuration has been checked.

First each field alone, then the algorithm's settings, then rules about several fields, the data's manifest and the
disk. A rule is skipped where a field that it reads is known to be wrong.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_collections

from macaw_jax.algorithms.settings import can_be_traced, refusal_of, setting_faults, with_values
from macaw_jax.data.manifest import DatasetError
from macaw_jax.data.retrieval import Reference
from macaw_jax.envs.engines import require_compiled_physics
from macaw_jax.envs.family import TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluate import Evaluate, Split
from macaw_jax.json_files import flatten
from macaw_jax.retrieval import RetrievalSettings
from macaw_jax.sources.source import Source
from macaw_jax.training.devices import check_axis
from macaw_jax.types import Algorithm, Key, Problem

from .configuration import Field, field_faults, settings_of
from .variants import check_seeds, chosen_variants, differing_names, parse_grid, shared, variants_of

# What a value alone is tried on: no range of a setting depends on sizes.
ANY_PROBLEM = Problem(observation_size=1, action_size=1, num_tasks=1, discount=1.0)
RUNS = "runs"  # where the directories of runs are that are given none


class Rule(NamedTuple):
  """Something that fields must fulfil together."""

  reads: tuple[str, ...]  # fields that must be right by themselves
  problems: Callable[[Any], Iterable[str] | None]  # of what was examined: yields or raises lines
  spoils: str = ""  # a field that counts as wrong for later rules where there is a problem


class Retrieval(NamedTuple):
  """The retrieval of a run: its settings, and what it retrieves from, fitted to the data of the training tasks."""

  settings: RetrievalSettings
  fit: Callable[[Key], Reference]


class Parts(NamedTuple):
  """The parts that a configuration is made into, beside its algorithm.

  `source` and `evaluate` are made for the algorithm that adapts and acts for any member of the population.
  """

  family: TaskFamily
  problem: Problem
  source: Callable[[Algorithm], Source]
  evaluate: Callable[[Algorithm], Evaluate]
  description: Sequence[str]
  splits: Sequence[Split]  # that are evaluated, the test tasks first
  wrap: Callable[[Algorithm], Algorithm] = lambda algorithm: algorithm  # how the algorithm takes the source's batches
  retrieval: Retrieval | None = None  # where the agent adapts to retrieved rows
  identity: Mapping[str, str] = MappingProxyType({})
  train: Split | None = None  # the training tasks, with their data where they are recorded


class Kind(NamedTuple):
  """A kind of run.

  fields:     of its configuration, with their values
  rules:      about several of them
  examine:    `(config) -> examined`, the argument of rules and `assemble`; reads nothing before it is asked for
  assemble:   `(examined, train) -> Parts`, of a configuration that is right; `train` are the training tasks with their
              data if they are loaded already, else None
  data_name:  the data in the name of a run's default directory
  call:       the field of `config.training` with the number of updates of a compiled call
  by_data:    `(examined) -> values` of the fields that a configuration may leave to the data, by dotted name
  may_change: fields, beside those that every kind has, that do not make it another run
  added:      fields by section that older runs lack, with values that leave a run as it was
  """

  fields: Mapping[str, Field]
  rules: Sequence[Rule]
  examine: Callable[[ml_collections.ConfigDict], Any]
  assemble: Callable[[Any, Split | None], Parts]
  data_name: Callable[[ml_collections.ConfigDict], str]
  call: str
  by_data: Callable[[Any], Mapping[str, Any]] = lambda examined: {}
  may_change: Sequence[str] = ()
  added: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def check(config: ml_collections.ConfigDict, fields: Mapping[str, Field], rules: Iterable[Rule], examined: Any) -> None:
  """Checks the fields of a configuration, its algorithm's settings, and rules about several fields.

  Args:
    config: of a run.
    fields: their values, by dotted name.
    rules: about several of them.
    examined: the argument of the rules.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  values = flatten(config.to_dict())
  faults = field_faults(values, fields)
  if "algorithm.name" not in faults:
    of_algorithm = setting_faults(config.algorithm.name, ANY_PROBLEM, settings_of(config))
    if "training.steps" in faults:  # A decay that follows the number of steps is named with it already.
      steps = values.get("training.steps")
      of_algorithm = {
        name: line
        for name, line in of_algorithm.items()
        if not name.endswith("decay_steps") or values.get(f"algorithm.{name}") != steps
      }
    faults |= {f"algorithm.{name}": line for name, line in of_algorithm.items()}
  problems, wrong = list(filter(None, faults.values())), set(faults)
  if any(name.startswith("algorithm.") for name in faults):
    wrong.add("algorithm")
  for rule in rules:
    if wrong.isdisjoint(rule.reads) and (found := _found_by(rule, examined)):
      problems += found
      wrong.add(rule.spoils)
  if problems:
    raise ConfigurationError(*dict.fromkeys(problems))


def _found_by(rule: Rule, examined: Any) -> Sequence[str]:
  try:
    return tuple(rule.problems(examined) or ())
  except ConfigurationError as error:
    return error.problems
  except DatasetError as error:
    return (str(error),)
  except OSError as error:  # a path that may not be looked at
    return (f"{error.filename}: {error.strerror}",)


def divided_into_calls(examined: Any, name: str, call: str) -> Iterator[str]:
  """A number of updates in `config.training` that is no multiple of those of one compiled call."""
  training = examined.config.training
  if training[name] % training[call]:
    yield (
      f"config.training.{name} = {training[name]} is not a multiple of config.training.{call} = "
      f"{training[call]}, the number of updates in one compiled call"
    )


def refused_by_algorithm(examined: Any) -> Iterator[str]:
  """Settings that the algorithm refuses together."""
  config = examined.config
  if refusal := refusal_of(config.algorithm.name, examined.problem, settings_of(config)):
    yield f"config.algorithm ({config.algorithm.name}): {refusal}"


def values_of_grid(examined: Any) -> Iterator[str]:
  """Names and values that the members of a population cannot differ in."""
  config = examined.config
  name, settings = config.algorithm.name, settings_of(config)
  for setting, values in parse_grid(config.population.grid, config.algorithm).items():
    refusals = [refusal_of(name, ANY_PROBLEM, with_values(settings, {setting: value})) for value in values]
    yield from (f"config.population.grid: {refusal}" for refusal in refusals if refusal)
    if not any(refusals) and not can_be_traced(name, ANY_PROBLEM, settings, setting):
      yield f"config.population.grid: {shared(f'algorithm.{setting}', flatten(settings)[setting])}"


def values_of_variants(examined: Any) -> Iterator[str]:
  """The faults of each variant, chosen or not: of a value alone, and of its values together."""
  config = examined.config
  variants = config.get("variants", {})
  if not isinstance(variants, Mapping | ml_collections.ConfigDict):
    yield f"config.variants = {variants!r}: expected a section for each variant"
    return
  for name, variant in variants.items():
    place = f"config.variants.{name}"
    if not isinstance(variant, ml_collections.ConfigDict):
      yield f"{place} = {variant!r}: expected settings, as {place}.learning_rate"
    else:
      yield from _values_of_variant(config, flatten(variant.to_dict()), place)


def _values_of_variant(config: ml_collections.ConfigDict, values: dict[str, Any], place: str) -> Iterator[str]:
  algorithm, own = config.algorithm.name, flatten(settings_of(config))
  faults = setting_faults(algorithm, ANY_PROBLEM, with_values(settings_of(config), values), place)
  found = [line for name, line in faults.items() if name in values]
  found += [f"{place}.{name}: config.algorithm has no field {name!r}" for name in values if name not in own | faults]
  yield from found
  if not found and (refusal := refusal_of(algorithm, ANY_PROBLEM, with_values(settings_of(config), values))):
    yield f"{place} ({algorithm}): {refusal}"


def choice_of_variants(examined: Any) -> Iterator[str]:
  """Chosen variants that cannot be members of one program."""
  config = examined.config
  chosen = chosen_variants(config)
  values = {name: flatten(config.variants[name].to_dict()) for name in chosen}
  if len({tuple(sorted(of_variant)) for of_variant in values.values()}) > 1:
    for name, of_variant in values.items():
      if missing := sorted(set().union(*values.values()) - of_variant.keys()):
        yield f"config.population.variants: config.variants.{name} lacks {', '.join(missing)}, which another one has"
    return
  for setting in differing_names(config, chosen) if chosen else ():
    untraced = [name for name in chosen if not _can_differ(config, setting, values[name][setting])]
    if untraced:
      value = values[untraced[0]][setting]
      yield f"config.population.variants: {shared(f'variants.{untraced[0]}.{setting}', value)}"


def _can_differ(config: ml_collections.ConfigDict, setting: str, value: Any) -> bool:
  if not isinstance(value, bool | int | float):
    return False
  return can_be_traced(config.algorithm.name, ANY_PROBLEM, with_values(settings_of(config), {setting: value}), setting)


def engine_that_steps(examined: Any) -> Iterator[str]:
  """An engine of evaluation that cannot step the family."""
  engine = examined.config.evaluation.engine
  try:
    if engine != "native":
      require_compiled_physics(examined.family)
  except ConfigurationError as error:
    yield from (f"config.evaluation.engine = {engine!r}: {problem}" for problem in error.problems)


def undivided_axes(examined: Any, tasks_field: str) -> Iterator[str]:
  """Devices that do not divide the members, or the tasks of an update, which `tasks_field` says."""
  config = examined.config
  for axis, count, what in (
    ("seed", config.population.seeds * len(variants_of(config)), "members of the population (config.population)"),
    ("task", examined.tasks_per_update, f"tasks of an update ({tasks_field})"),
  ):
    try:
      check_axis(axis, config.devices[axis], count, what)
    except ValueError as error:
      yield f"config.devices.{error}"


def unwritable_directory(examined: Any) -> Iterator[str]:
  """A place for the run that cannot be made or written to."""
  directory = Path(examined.config.output_directory or RUNS)
  nearest = next(place for place in (directory, *directory.parents) if os.path.lexists(place))
  if not nearest.is_dir():
    yield f"config.output_directory: {nearest} is a file; expected a place for the folder {directory}"
  elif not os.access(nearest, os.W_OK | os.X_OK):
    yield f"config.output_directory: {nearest} cannot be written to; expected a place for the folder {directory}"


def member_rules(tasks_per_update: str, *reads: str, call: str) -> tuple[Rule, ...]:
  """The rules about calls, members, variants and devices, which every kind of run has.

  Args:
    tasks_per_update: the field with the number of tasks of an update.
    reads: other fields that this number depends on.
    call: the field of `config.training` with the number of updates of a compiled call.
  """
  chosen = ("population.variants", "population.grid", "algorithm", "training.steps")
  return (
    *(
      Rule((f"training.{name}", f"training.{call}"), partial(divided_into_calls, name=name, call=call))
      for name in ("steps", "evaluate_every", "checkpoint_every")
    ),
    Rule(("seed", "population.seeds"), lambda examined: check_seeds(examined.config), "population.seeds"),
    Rule(("population.grid", "algorithm"), values_of_grid, spoils="population.grid"),
    Rule(("algorithm", "training.steps"), values_of_variants, spoils="population.variants"),
    Rule(chosen, choice_of_variants, spoils="population.variants"),
    Rule(
      (*chosen, "seed", "population.seeds", tasks_per_update, *reads, "devices.seed", "devices.task"),
      partial(undivided_axes, tasks_field=f"config.{tasks_per_update}"),
    ),
  )


START_RULES = (Rule(("output_directory",), unwritable_directory),)
