"""From a configuration to a run, as values: nothing behind this sees the configuration again.

`build(config)` checks it, and says all that is wrong with it at once. `rebuild(directory)` does the same for a run that
was trained, with its newest parameters.
"""

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections

from macaw_jax.adaptation.retrieval import add_reference, without_reference
from macaw_jax.algorithms.settings import chosen_by_data, make_algorithm
from macaw_jax.console import log
from macaw_jax.data.retrieval import Reference
from macaw_jax.data.statistics import Statistics
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluate import Evaluate, Evaluated
from macaw_jax.json_files import flatten
from macaw_jax.retrieval import RetrievalSettings, with_retrieval
from macaw_jax.training.population import MakeAlgorithm, acting_algorithm
from macaw_jax.training.run import Devices, Run, Schedule
from macaw_jax.training.run_directory import DATASET, RETRIEVAL, read_document
from macaw_jax.training.trained import NEWEST, load_checkpoint
from macaw_jax.types import Algorithm, Key, Params, TrainState

from . import on_policy, recorded, replayed
from .configuration import settings_of
from .validation import START_RULES, Kind, Parts, Retrieval, check
from .variants import members_of, variants_of

KINDS: dict[str, Kind] = {
  "dataset": recorded.KIND,
  "collection": replayed.KIND,
  "rollouts": on_policy.KIND,
}

# A longer run is the same run, continued, unless something follows its length, as a decay of learning rates does. So is
# a run on other devices, or in a directory that was moved, or with its data in another place: their digest is compared.
MAY_CHANGE = ("output_directory", "training.keep_checkpoints", "devices.seed", "devices.task", "devices.distributed")


def kind_of(config: ml_collections.ConfigDict) -> Kind:
  """The kind of run of a configuration; raises `ConfigurationError` unless it has just one of the sections."""
  found = [section for section in KINDS if section in config]
  if len(found) != 1:
    raise ConfigurationError(
      f"config: expected one of the sections {', '.join(KINDS)}, found {' and '.join(found) or 'none'}"
    )
  return KINDS[found[0]]


def examine(config: ml_collections.ConfigDict, *, starts: bool = True) -> Any:
  """Checks everything that can be known of a run without its arrays and its devices; the argument of `assemble`.

  Args:
    config: of the run.
    starts: whether the run is to be started or continued, which writes into its directory.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  kind = kind_of(config)
  examined = kind.examine(config)
  check(config, kind.fields, (*kind.rules, *(START_RULES if starts else ())), examined)
  return examined


def build(config: ml_collections.ConfigDict) -> Run:
  """The run of a configuration.

  Raises:
    ConfigurationError, DatasetError: the configuration or the data cannot be used; nothing has been compiled.
  """
  return assemble(examine(config))


def assemble(examined: Any) -> Run:
  """The run of a configuration that `examine` has found to be right; loads its data. Raises as `build`."""
  kind, chosen = kind_of(examined.config), left_to_data(examined)
  config = examined.config.copy_and_resolve_references()
  with config.unlocked():
    config.update_from_flattened_dict(chosen)
  training, members = config.training, members_of(config, kind.data_name(config))
  who = f"seed {members[0].seed}" if len(members) == 1 else f"{len(members)} members"
  log(f"{config.algorithm.name} on {kind.data_name(config)}, {who}")
  for each in members if len(members) > 1 else ():
    log(f"  {each.label}")
  parts = kind.assemble(examined, None)
  settings = settings_of(ml_collections.ConfigDict(members[0].config))
  make = _make(config.algorithm.name, parts, settings)
  if parts.retrieval is not None:
    # Of the data, and not of a member's seed: a member of a population is what its run alone would be.
    make = _beginning_with(_fit_reference(parts.retrieval, seed=0), make)
  for each in members:
    make(**each.hyperparameters)  # While its values are numbers: traced, they cannot be refused.
  acting = acting_algorithm(make, members[0].hyperparameters)
  return Run(
    algorithm=config.algorithm.name,
    make_algorithm=make,
    source=parts.source(acting),
    members=members,
    schedule=Schedule(
      steps=training.steps,
      steps_per_call=training[kind.call],
      evaluate_every=training.evaluate_every,
      checkpoint_every=training.checkpoint_every,
      keep_checkpoints=training.keep_checkpoints,
      max_skips_in_a_row=training.max_skips_in_a_row,
    ),
    evaluate=parts.evaluate(acting),
    family=parts.family,
    agent={"algorithm": config.algorithm.name, "settings": settings, "problem": parts.problem._asdict()}
    | ({} if parts.retrieval is None else {RETRIEVAL: parts.retrieval.settings._asdict()}),
    identity=parts.identity,
    may_change=(*MAY_CHANGE, *kind.may_change),
    follows=following(examined.config),
    devices=Devices(config.devices.seed, config.devices.task, config.devices.distributed),
    description=(*parts.description, *_said(chosen), *ended_decay(config), *waiting_agent(config)),
  )


def left_to_data(examined: Any) -> dict[str, Any]:
  """The fields that a configuration leaves to the data, by dotted name, each with the value that the data give it.

  A run records these values, and not that they were left open: a later rule must not make another agent of it.
  """
  config = examined.config
  of_members = {setting for variant in variants_of(config) for setting in variant.values}
  settings = chosen_by_data(config.algorithm.name, examined.problem, settings_of(config))
  chosen = {f"algorithm.{setting}": value for setting, value in settings.items() if setting not in of_members}
  values = flatten(config.to_dict())
  fields = {field: value for field, value in kind_of(config).by_data(examined).items() if values[field] is None}
  return chosen | fields


def _said(chosen: Mapping[str, Any]) -> list[str]:
  """The line about the fields that were left to the data, if there are some."""
  values = [f"config.{field} = {value!r}" for field, value in chosen.items()]
  return [f"by the data: {', '.join(values)}"] if values else []


def following(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Fields of a configuration whose values follow from another number's, by dotted name of both.

  They are found by trying: `{"algorithm.decay_steps": "training.steps"}` where the one changes with the other.
  """
  values = flatten(config.to_dict())
  found: dict[str, str] = {}
  for name, value in values.items():
    if type(value) is int:
      other = copy.deepcopy(config)
      with other.unlocked():
        other.update_from_flattened_dict({name: value + 1})
      changed = flatten(other.to_dict())
      found |= {each: name for each in values if each != name and changed[each] != values[each]}
  return found


def ended_decay(config: ml_collections.ConfigDict) -> Iterator[str]:
  """The line about learning rates that are zero before the run has come to its end, if they are."""
  steps = config.training.steps
  for name, value in flatten(config.algorithm.to_dict()).items():
    if name.rpartition(".")[2] == "decay_steps" and value is not None and value < steps:
      yield f"learning rates are zero from update {value} on (config.algorithm.{name}), of {steps} updates"


def waiting_agent(config: ml_collections.ConfigDict) -> Iterator[str]:
  """The line about an actor-critic whose stage does not begin within the run, if it has one."""
  steps, begins = config.training.steps, sum(config.algorithm.get("stages", ()))
  if begins >= steps:
    yield (
      f"the actor-critic learns from update {begins} on (config.algorithm.stages), and not within the {steps} updates "
      "of this run"
    )


def _make(name: str, parts: Parts, settings: Mapping[str, Any]) -> MakeAlgorithm:
  """`(**overrides) -> Algorithm`; raises `ConfigurationError` for settings that the algorithm refuses."""

  def make(**overrides: Any) -> Algorithm:
    try:
      algorithm = parts.wrap(make_algorithm(name, parts.problem, settings, overrides))
    except (TypeError, ValueError) as error:
      raise ConfigurationError(f"config.algorithm ({name}): {error}") from error
    if parts.retrieval is None:
      return algorithm
    return with_retrieval(algorithm, parts.problem, parts.retrieval.settings)

  return make


def _fit_reference(retrieval: Retrieval, seed: int) -> Reference:
  log(f"fitting the {retrieval.settings.differ_in} of the training tasks, by which rows are retrieved ...")
  return retrieval.fit(jax.random.key(seed))


def _beginning_with(reference: Reference, make: MakeAlgorithm) -> MakeAlgorithm:
  """The same algorithms, whose parameters begin with this reference."""

  def made(**overrides: Any) -> Algorithm:
    algorithm = make(**overrides)

    def init(key: Key) -> TrainState:
      state = algorithm.init(key)
      return state._replace(params=add_reference(state.params, reference))

    return algorithm._replace(init=init)

  return made


class Trained(NamedTuple):
  """A run that was trained, for its evaluation."""

  directory: Path
  config: ml_collections.ConfigDict  # with the changes for the evaluation
  parts: Parts
  make_algorithm: MakeAlgorithm
  algorithm: Algorithm
  evaluate: Evaluate
  params: Params
  statistics: Statistics  # by which the agent sees observations and rewards
  step: int  # updates that the parameters have had


def saved_config(directory: Path, changes: Mapping[str, Any] | None = None) -> ml_collections.ConfigDict:
  """The configuration of a run, with fields replaced by values that are not None, by dotted name; checked.

  Raises:
    ConfigurationError: there is no run, or its configuration is wrong with these values; each line names the run.
  """
  document = read_document(directory)["config"]
  if not document:
    raise ConfigurationError(f"{directory}: a run of a script; macaw_jax.load_run reads it, given its algorithm")
  config = ml_collections.ConfigDict(document)
  try:
    kind = kind_of(config)
    config = ml_collections.ConfigDict(with_added(document, kind.added))
    set_fields(config, kind, changes or {})
    examine(config, starts=False)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"{directory}: {problem}" for problem in error.problems)) from error
  return config


def set_fields(config: ml_collections.ConfigDict, kind: Kind, changes: Mapping[str, Any]) -> None:
  """Sets the fields, by dotted name, that a kind of run has, and whose value is not None."""
  config.update_from_flattened_dict(
    {name: value for name, value in changes.items() if value is not None and name in kind.fields}
  )


def with_added(document: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """The configuration of a run with the fields that it is too old to have."""
  known = {section: document.get(section, {}) for section in added}
  return {
    **document,
    **{name: {**added[name], **section} for name, section in known.items() if isinstance(section, Mapping)},
  }


def rebuild(directory: Path, config: ml_collections.ConfigDict, which: str = NEWEST) -> Trained:
  """A trained run from its `saved_config` and a checkpoint: `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: there is no such checkpoint, or it does not fit.
    DatasetError: its data cannot be read.
  """
  kind = kind_of(config)
  parts = kind.assemble(kind.examine(config), None)
  settings = settings_of(config)
  make = _make(config.algorithm.name, parts, settings)
  algorithm = make()
  stored = _make(config.algorithm.name, parts._replace(retrieval=None), settings)()
  if (trained_with := read_document(directory)["agent"].get(RETRIEVAL)) is not None:
    stored = with_retrieval(stored, parts.problem, RetrievalSettings(**trained_with))
  checkpoint, note = load_checkpoint(directory, stored, parts.family.observation_size, which)
  if DATASET in parts.identity and note.identity.get(DATASET) != parts.identity[DATASET]:
    log(f"WARNING: {config.dataset.directory} is not as it was when this run was trained")
  params, evaluate = checkpoint.state.params, parts.evaluate(algorithm)
  if parts.retrieval is None:
    params = without_reference(params)
  elif trained_with is None:
    params = add_reference(params, _fit_reference(parts.retrieval, config.seed))
  return Trained(
    directory, config, parts, make, algorithm, evaluate, params, checkpoint.statistics, int(checkpoint.state.step)
  )


def evaluate_with(trained: Trained, changes: Mapping[str, Any], key: Key) -> Evaluated:
  """Evaluates the parameters of a trained run under another configuration of its evaluation or adaptation.

  `changes` are fields by dotted name; the key decides supports and starts.
  """
  config = trained.config.copy_and_resolve_references()
  with config.unlocked():
    config.update_from_flattened_dict(dict(changes))
  kind = kind_of(config)
  parts = kind.assemble(kind.examine(config), trained.parts.train)
  algorithm = _make(config.algorithm.name, parts, settings_of(config))()
  return parts.evaluate(algorithm)(trained.params, trained.statistics, key)


def check_writable(path: Path) -> None:
  """Raises `ConfigurationError` if a file in the directory of a run cannot be written."""
  if path.is_dir():
    raise ConfigurationError(f"{path}: expected a file to write, found a folder")
  if not os.access(path.parent, os.W_OK):
    raise ConfigurationError(f"{path}: its folder cannot be written")
