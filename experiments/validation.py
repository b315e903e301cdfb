"""A configuration checked as a whole, before anything is compiled and before any array is loaded.

First each field alone, then the algorithm's hyper-parameters, then `RULES` about several fields, the dataset's manifest
and the disk. A rule is skipped where a field that it reads is known to be wrong: what would follow from that is no
problem of its own.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from experiments.configuration import (
  FIELDS,
  ConfigurationError,
  Field,
  collects,
  flatten,
  hyperparameters,
  is_on_policy,
  missing_dataset,
  support_directory,
)
from experiments.experiment import (
  check_batches,
  check_own_episodes,
  check_supports,
  check_train_tasks,
  evenly_spaced,
  family_of,
  inner_steps_of,
  read_supports,
  task_split,
  tasks_of_update,
)
from experiments.hyperparameter_checks import can_be_traced, hyperparameter_faults, refusal_of, suggestion, value_of
from experiments.population import check_seeds, num_members, parse_grid, shared
from macaw_jax.actor_critics import CORES, arguments_not_read_by
from macaw_jax.data.dataset import examine_files
from macaw_jax.data.manifest import MANIFEST_FILE, DatasetError, Manifest, examine_manifest, read_manifest
from macaw_jax.envs.family import TaskFamily, TaskSplit
from macaw_jax.evaluation.protocols import RECORDED
from macaw_jax.training.devices import check_axis
from macaw_jax.types import Problem

# What a value alone is tried on: no range of a hyper-parameter depends on sizes.
ANY_PROBLEM = Problem(observation_size=1, action_size=1, num_tasks=1, discount=1.0)
HALVING = ("focal", "unicorn", "csro")  # compare the latents of two halves of a support
RUNS = "runs"  # where the directories of runs are that are given none


def validate(config: ml_collections.ConfigDict, *, starts: bool = True) -> None:
  """Checks everything that can be known of a run without its arrays and its devices.

  Args:
    config: of the run.
    starts: whether the run is to be started or continued, which writes into its directory.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  if collects(config):
    raise ConfigurationError(
      "config.collection: the run collects its own data; experiments.run and experiments.online_report take it"
    )
  if is_on_policy(config):
    raise ConfigurationError(
      "config.rollouts: the run learns from episodes that it acts itself; experiments.run and "
      "experiments.compare_variants take it"
    )
  check(config, FIELDS, RULES + START_RULES if starts else RULES, Examined(config))


def check(
  config: ml_collections.ConfigDict,
  fields: Mapping[str, Field],
  rules: Iterable["Rule"],
  examined: Any,
  *,
  open_sections: Sequence[str] = ("algorithm",),
) -> None:
  """Checks the fields of a configuration, its algorithm's hyper-parameters, and rules about several fields.

  Args:
    config: of a run.
    fields: what each may hold, by its dotted name.
    rules: what they must fulfil together.
    examined: what the rules look at.
    open_sections: sections whose fields `fields` does not tell.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  values = flatten(config.to_dict())
  faults = field_faults(values, fields, open_sections)
  if "algorithm.name" not in faults:
    of_algorithm = hyperparameter_faults(config.algorithm.name, ANY_PROBLEM, hyperparameters(config))
    if "training.steps" in faults and values.get("algorithm.decay_steps") == values.get("training.steps"):
      of_algorithm.pop("decay_steps", None)  # It follows the number of steps, which is named already.
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


def field_faults(
  values: Mapping[str, Any], fields: Mapping[str, Field], open_sections: Sequence[str]
) -> dict[str, str]:
  """A line for each field that is missing, unknown or of a wrong value, by its dotted name; open sections apart."""
  faults = {}
  names_of = partial(_fields_of, fields)
  for name, field in fields.items():
    section = name.rpartition(".")[0]
    if section in values:
      faults[section] = f"config.{section} = {values[section]!r}: expected the fields {', '.join(names_of(section))}"
      faults[name] = ""  # wrong, and no line of its own
    elif name not in values:
      faults[name] = f"config.{name} is missing; expected {field.expected}"
    elif not field.takes(values[name]):
      faults[name] = f"config.{name} = {values[name]!r}: expected {field.expected}"
  for name in values:
    section = name.rpartition(".")[0]
    if name in fields or name in faults or section in fields or name.split(".")[0] in open_sections:
      continue
    if names_of(section):
      place = f"config.{section}".rstrip(".")
      faults[name] = f"config.{name} is unknown; {suggestion(name.rpartition('.')[2], names_of(section), place)}"
    else:
      faults[section] = f"config.{section} is unknown; {suggestion(section, names_of(''), 'config')}"
  return faults


def _fields_of(fields: Iterable[str], section: str) -> tuple[str, ...]:
  """The fields and sections of a section; the empty name is that of the whole."""
  inside = f"{section}." if section else ""
  return tuple(dict.fromkeys(name.removeprefix(inside).split(".")[0] for name in fields if name.startswith(inside)))


class Examined:
  """A configuration and what the manifest of its dataset says. Whatever is not as it should be, is raised when read."""

  def __init__(self, config: ml_collections.ConfigDict):
    self.config = config

  @cached_property
  def manifest(self) -> Manifest:
    """Of the dataset."""
    return read_manifest(self.config.dataset.directory)

  @cached_property
  def family(self) -> TaskFamily:
    """That the dataset belongs to."""
    return family_of(self.manifest, self.config.dataset.directory)

  @cached_property
  def split(self) -> TaskSplit:
    """Tasks to train and to test on."""
    return task_split(self.config, self.manifest, self.family)

  @property
  def problem(self) -> Problem:
    """What an algorithm must know of the data."""
    manifest = self.manifest
    return Problem(manifest.observation_size, manifest.action_size, len(self.split.train), manifest.discount)

  @property
  def evaluated_train_tasks(self) -> tuple[int, ...]:
    """Training tasks that are evaluated too."""
    count = self.config.evaluation.train_tasks
    return tuple(self.split.train[position] for position in evenly_spaced(len(self.split.train), count))


class Rule(NamedTuple):
  """Something that fields must fulfil together."""

  reads: tuple[str, ...]  # fields that must be right by themselves
  problems: Callable[[Any], Iterable[str]]  # yields or raises what is wrong with what was examined
  spoils: str = ""  # what later rules cannot rely on where there is a problem


def _found_by(rule: Rule, examined: Any) -> Sequence[str]:
  try:
    return tuple(rule.problems(examined))
  except ConfigurationError as error:
    return error.problems
  except DatasetError as error:
    return (str(error),)
  except OSError as error:  # a path that may not be looked at
    return (f"{error.filename}: {error.strerror}",)


def divided_into_calls(examined: Any, name: str, call: str = "log_every") -> Iterator[str]:
  """A number of updates in `config.training` that is no multiple of those of one compiled call."""
  training = examined.config.training
  if training[name] % training[call]:
    yield (
      f"config.training.{name} = {training[name]} is not a multiple of config.training.{call} = "
      f"{training[call]}, the number of updates in one compiled call"
    )


def _shares(examined: Examined, section: str) -> Iterator[str]:
  size, inner_steps = examined.config[section].support_size, inner_steps_of(examined.config)
  if size % inner_steps:
    yield (
      f"config.{section}.support_size = {size} is not a multiple of config.algorithm.inner_steps = {inner_steps}: "
      "each inner step takes an equal share of the support"
    )


def _consecutive_rows(examined: Examined) -> Iterator[str]:
  config = examined.config
  for name, value in config.algorithm.items():
    if value == "td_lambda" and (config.training.order, config.evaluation.order) != ("contiguous", "contiguous"):
      yield (
        f"config.algorithm.{name} = 'td_lambda' needs consecutive transitions: set config.training.order and "
        "config.evaluation.order to 'contiguous'"
      )


def _halves(examined: Examined) -> Iterator[str]:
  config = examined.config
  name, size = config.algorithm.name, config.training.support_size
  queries = value_of("queries_per_task", name, hyperparameters(config))
  if name in HALVING and size < 2:
    yield f"config.training.support_size = {size}: {name} halves a support; expected at least 2"
  elif queries is not None and queries > size // 2:
    yield (
      f"config.algorithm.queries_per_task = {queries}: expected at most half of config.training.support_size = {size}"
    )


def _part_of_data(examined: Examined) -> Iterator[str]:
  dataset = examined.config.dataset
  if (dataset.quality == "all") != (dataset.transitions_per_task is None):
    yield (
      f"config.dataset.quality = {dataset.quality!r} with config.dataset.transitions_per_task = "
      f"{dataset.transitions_per_task}: a part of the data needs its size, and 'all' has none"
    )


def _dataset(examined: Examined) -> Iterable[str]:
  directory = Path(examined.config.dataset.directory)
  if not (directory / MANIFEST_FILE).is_file():
    return [missing_dataset(directory)]
  return examine_manifest(directory)[1]


def _files(examined: Examined) -> Iterable[str]:
  return examine_files(examined.config.dataset.directory, examined.manifest)


def raised_by(check: Callable[[Examined], object]) -> Callable[[Examined], Iterable[str]]:
  """The problems of a rule that raises them."""

  def problems(examined: Examined) -> Iterable[str]:
    check(examined)
    return ()

  return problems


def refused_by_algorithm(examined: Any) -> Iterator[str]:
  """Hyper-parameters that the algorithm refuses together."""
  config = examined.config
  if refusal := refusal_of(config.algorithm.name, examined.problem, hyperparameters(config)):
    yield f"config.algorithm ({config.algorithm.name}): {refusal}"


def _sizes(examined: Examined, tasks: Iterable[int]) -> dict[int, int]:
  """Transitions of tasks, by index: exactly where all are used, and at most where episodes decide."""
  size = {task: examined.manifest.tasks[task].num_transitions for task in tasks}
  return {task: -(-num_transitions // examined.config.dataset.skip) for task, num_transitions in size.items()}


def _size_of_part(examined: Examined) -> Iterator[str]:
  wanted = examined.config.dataset.transitions_per_task
  if wanted is None:
    return
  sizes = {task: examined.manifest.tasks[task].num_transitions for task in set().union(*examined.split)}
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < wanted:
    yield f"config.dataset.transitions_per_task = {wanted}: task {smallest} of the dataset has {sizes[smallest]}"


def _batches(examined: Examined) -> None:
  check_batches(examined.config, _sizes(examined, examined.split.train))


def _supports(examined: Examined) -> Iterable[str]:
  config = examined.config
  if config.evaluation.support != "other_policies":
    return ()
  directory = support_directory(config)
  if not (directory / MANIFEST_FILE).is_file():
    return [
      f"config.evaluation.support = {config.evaluation.support!r}: no dataset at {directory}; experiments.collect "
      "writes it beside the family's own data"
    ]
  manifest = read_supports(config, examined.family, examined.split.test + examined.evaluated_train_tasks)
  return examine_files(directory, manifest)


def _support_sizes(examined: Examined) -> Iterator[str]:
  if examined.config.evaluation.support not in RECORDED:
    return
  size, own = examined.config.evaluation.support_size, examined.config.evaluation.support == "own"
  supports = examined.manifest if own else read_manifest(support_directory(examined.config))
  for name, tasks in (("test", examined.split.test), ("train", examined.evaluated_train_tasks)):
    found = _sizes(examined, tasks) if own else {task: supports.tasks[task].num_transitions for task in tasks}
    if found:
      try:
        check_supports(size, name, found)
      except ConfigurationError as error:
        yield from (f"config.evaluation.support_size = {size}: {problem}" for problem in error.problems)


def _own_episodes(examined: Examined) -> None:
  if examined.config.evaluation.support == "online":
    check_own_episodes(examined.family.horizon, inner_steps_of(examined.config))


def values_of_grid(examined: Any) -> Iterator[str]:
  """Names and values that the members of a population cannot differ in."""
  config = examined.config
  not_read = _not_read(config.algorithm)
  for name, values in parse_grid(config.population.grid, config.algorithm).items():
    if name in not_read:
      yield f"config.population.grid: {name} is not read with {not_read[name]}; members would be identical"
    if not can_be_traced(config.algorithm.name, ANY_PROBLEM, hyperparameters(config), name):
      yield f"config.population.grid: {shared(f'algorithm.{name}', config.algorithm[name])}"
    for value in values:
      if refusal := refusal_of(config.algorithm.name, ANY_PROBLEM, {name: value}):
        yield f"config.population.grid: {refusal}"


def _not_read(values: Mapping[str, Any]) -> dict[str, str]:
  """Hyper-parameters that another one has the algorithm ignore, each with that one."""
  ignored = {}
  if values.get("negatives") == "generator":
    ignored["reward_noise"] = "config.algorithm.negatives = 'generator'"
  if "divergence_target" in values and values["divergence_target"] is None:
    ignored |= dict.fromkeys(("max_penalty", "penalty_rate"), "config.algorithm.divergence_target = None")
  if (core := values.get("core")) in CORES:
    ignored |= dict.fromkeys(arguments_not_read_by(core), f"config.algorithm.core = {core!r}")
  return ignored


def _axes(examined: Examined) -> Iterator[str]:
  num_tasks = tasks_of_update(examined.config, examined.problem)
  return undivided_axes(examined.config, num_tasks, "config.training.tasks_per_update")


def undivided_axes(config: ml_collections.ConfigDict, num_tasks: int, tasks_field: str) -> Iterator[str]:
  """Devices that do not divide the members, or the `num_tasks` tasks of an update, which `tasks_field` says."""
  for axis, count, what in (
    ("seed", num_members(config), "members of the population (config.population)"),
    ("task", num_tasks, f"tasks of an update ({tasks_field})"),
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


_DATA = ("dataset.directory",)
_TASKS = (*_DATA, "dataset.split")
_PART = (*_TASKS, "dataset.quality", "dataset.transitions_per_task", "dataset.skip")
_SUPPORTS = ("evaluation.support", "evaluation.train_tasks")
_MEMBERS = ("seed", "population.seeds", "population.grid", "algorithm")

RULES = (
  *(
    Rule((f"training.{name}", "training.log_every"), partial(divided_into_calls, name=name))
    for name in ("steps", "evaluate_every", "checkpoint_every")
  ),
  *(
    Rule((f"{section}.support_size", "algorithm"), partial(_shares, section=section))
    for section in ("training", "evaluation")
  ),
  Rule(("training.support_size", "algorithm"), _halves),
  Rule(("training.order", "evaluation.order", "algorithm"), _consecutive_rows),
  Rule(("dataset.quality", "dataset.transitions_per_task"), _part_of_data, spoils="dataset.quality"),
  Rule(_DATA, _dataset, spoils="dataset.directory"),
  Rule(_DATA, _files),
  Rule(_DATA, raised_by(lambda examined: examined.family), spoils="dataset.directory"),
  Rule(_TASKS, raised_by(lambda examined: examined.split), spoils="dataset.split"),
  Rule((*_TASKS, "algorithm", "training.steps"), refused_by_algorithm),  # decay_steps may follow training.steps
  Rule(_PART, _size_of_part, spoils="dataset.transitions_per_task"),
  Rule((*_PART, "training.support_size", "training.query_size"), raised_by(_batches)),
  Rule(
    (*_TASKS, "evaluation.train_tasks"),
    raised_by(lambda examined: check_train_tasks(examined.config, examined.split)),
    spoils="evaluation.train_tasks",
  ),
  Rule((*_TASKS, *_SUPPORTS), _supports, spoils="evaluation.support"),
  Rule((*_PART, *_SUPPORTS, "evaluation.support_size"), _support_sizes),
  Rule((*_DATA, "evaluation.support", "algorithm"), raised_by(_own_episodes)),
  Rule(("seed", "population.seeds"), raised_by(lambda examined: check_seeds(examined.config)), "population.seeds"),
  Rule(("population.grid", "algorithm"), values_of_grid, spoils="population.grid"),
  Rule((*_TASKS, *_MEMBERS, "training.tasks_per_update", "devices.seed", "devices.task"), _axes),
)
START_RULES = (Rule(("output_directory",), unwritable_directory),)
