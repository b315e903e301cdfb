"""An evaluation that a command line asks for, of one run: checked, and with its file, before anything is computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from macaw_jax.console import log
from macaw_jax.data.manifest import read_manifest
from macaw_jax.data.relabel import OTHER_POLICIES, other_policies_directory
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.context_shift import CONTEXT_SHIFT
from macaw_jax.evaluation.evaluation_file import CHECKPOINT, DATA, NAMES, UPDATE, evaluation_file
from macaw_jax.evaluation.protocols import PROTOCOLS, RECORDED
from macaw_jax.json_files import flatten
from macaw_jax.training.trained import NEWEST, find_checkpoint

from .build import check_writable, examine, kind_of, saved_config, set_fields
from .recorded import Examined, data_digests, manifest_with, missing_rows

ALL = "all"
OFFLINE = (*RECORDED, "random")
EVALUATION = "evaluation_{protocol}"
STEPS_FIELDS = ("algorithm.adaptation_steps", "rollouts.inner_steps")  # that --steps changes, by the kind of run
DEFAULT_STEPS = (0, 1, 2, 5)


class Request(NamedTuple):
  """The evaluation that a command line asks for, of every run; what is None is as the run has it."""

  steps: Sequence[int] | None = None  # none of them: adaptation as it was trained, and nothing else
  support: str | None = None  # a name in `PROTOCOLS`, or `ALL` that a run can have
  support_size: int | None = None
  quality: str | None = None  # of the tasks' own episodes
  own_episodes: int | None = None  # from which the agent goes on learning
  order: str | None = None
  episodes: int | None = None
  seed: int = 0
  engine: str | None = None
  checkpoint: str = NEWEST
  dataset: str | None = None  # of the family, for a run that has collected its own, or whose data were moved
  retrieval: bool | None = None  # whether the agent adapts to retrieved rows
  rows_per_task: int | None = None  # of each training task, that it retrieves from
  draw: str | None = None  # of the posterior of the task

  def config(
    self, directory: Path, support: str | None, more: Mapping[str, Any] | None = None
  ) -> ml_collections.ConfigDict:
    """The configuration of a run with what is asked for, one kind of support and more fields.

    Raises:
      ConfigurationError: there is no run, or it cannot be evaluated so.
    """
    return saved_config(directory, self.changes(support) | dict(more or {}))

  def changes(self, support: str | None) -> dict[str, Any]:
    """Fields of a configuration with what is asked for and one kind of support; None where a field stays as it is."""
    return {
      "evaluation.support": support,
      "evaluation.support_size": self.support_size,
      "evaluation.quality": self.quality,
      "evaluation.own_episodes": self.own_episodes,
      "evaluation.order": self.order,
      "evaluation.engine": self.engine,
      "rollouts.engine": self.engine,
      "evaluation.episodes": self.episodes,
      "evaluation.train_tasks": 0,
      "dataset.directory": self.dataset,
      "retrieval.enabled": self.retrieval,
      "retrieval.rows_per_task": self.rows_per_task,
      "retrieval.draw": self.draw,
    }


class Plan(NamedTuple):
  """One evaluation of one run."""

  directory: Path
  config: ml_collections.ConfigDict  # with the changes for it
  supports: tuple[str, ...]  # names in `PROTOCOLS`
  steps_field: str  # of the configuration, with the number of adaptation steps; empty where there is none
  steps: tuple[int, ...]  # numbers of them, 0 among them; empty where adaptation is evaluated as it is
  step: int  # of the checkpoint
  made_of: Mapping[str, Any]  # all that the result depends on
  file: Path
  request: Request

  @property
  def trained_steps(self) -> int:
    """The number of adaptation steps that the run has been trained with."""
    return flatten(self.config.to_dict())[self.steps_field]


def supports_of(config: ml_collections.ConfigDict, dataset: str | None) -> tuple[str, ...]:
  """The supports that a run can be evaluated with, names in `PROTOCOLS`, as far as its kind is concerned."""
  if "rollouts" in config:
    return ("on_policy",)
  if "dataset" in config:
    return (*OFFLINE, "online")
  return (*(OFFLINE if dataset else ("random",)), "online")


def plan(directory: Path, request: Request) -> Plan:
  """The evaluation of a run that is asked for, and the file where it goes.

  Raises:
    ConfigurationError: no such run, no such checkpoint, or a flag that does not go with the run.
    DatasetError: data that supports are to be drawn from cannot be read.
  """
  shift = request.support == ALL
  # The run's own support is not asked for where another one is: its data may be gone.
  of_run = saved_config(
    directory,
    {"evaluation.support": "random" if shift else request.support, "dataset.directory": request.dataset},
  )
  if request.dataset is not None and "rollouts" in of_run:
    raise ConfigurationError(f"{directory}: --dataset={request.dataset}: an on-policy run reads no data")
  _check_retrieval(directory, of_run, request)
  _check_recorded(directory, of_run, request)
  supports = _all_supports(directory, of_run, request) if shift else (_one_support(directory, of_run, request),)
  _check_rows(directory, supports, request)
  for support in supports:
    _check_data(directory, of_run, support, request)
  config = request.config(directory, supports[0])
  as_trained = shift or request.steps == () or config.evaluation.get("own_episodes", 0) > 0
  field = "" if as_trained else next((name for name in STEPS_FIELDS if name in flatten(config.to_dict())), "")
  usual_steps = _usual_steps(directory, config, field, supports[0], request)
  steps = _wanted_steps(directory, config, field, supports[0], request) or usual_steps
  step, digest = find_checkpoint(directory, request.checkpoint)
  data = config.dataset.directory if "dataset" in config else request.dataset
  made_of = {
    UPDATE: step,
    **_settings(config, supports, steps, request),
    NAMES: [PROTOCOLS[support] for support in supports],
    CHECKPOINT: digest,
    DATA: data_digests(data, supports) if data else {},
  }
  kind = CONTEXT_SHIFT if shift else EVALUATION.format(protocol=PROTOCOLS[supports[0]])
  file = evaluation_file(directory, kind, made_of, _settings(of_run, supports, usual_steps, Request()))
  check_writable(file)
  return Plan(directory, config, supports, field, steps, step, made_of, file, request)


def check_request(place: Path, config: ml_collections.ConfigDict, request: Request) -> None:
  """Raises `ConfigurationError` for what a run of this configuration could not be asked for, before it is trained.

  Args:
    place: that problems name.
    config: of the run.
    request: as it is to be asked; that its supports suffice for so many steps is seen when it is.
  """
  steps = request.steps or ()
  if not all(isinstance(number, int) and number >= 0 for number in steps):
    raise ConfigurationError(f"{place}: --steps={steps}: expected integers of at least 0, separated by commas")
  shift = request.support == ALL
  _check_retrieval(place, config, request)
  _check_recorded(place, config, request)
  if shift and "rollouts" in config:
    raise ConfigurationError(f"{place}: --support=all: an on-policy run adapts to its own episodes alone")
  supports = supports_of(config, request.dataset) if shift else (_one_support(place, config, request),)
  _check_rows(place, supports, request)
  if steps and not any(name in flatten(config.to_dict()) for name in STEPS_FIELDS):
    raise ConfigurationError(f"{place}: --steps={steps}: adaptation of {config.algorithm.name} has no number of steps")
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    set_fields(changed, kind_of(config), request.changes(None if shift else supports[0]))
  try:
    examine(changed, starts=False)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"{place}: {problem}" for problem in error.problems)) from error


def support_dataset(dataset: str, support: str) -> str:
  """The dataset that supports `own` or those of other policies are drawn from."""
  return dataset if support == "own" else other_policies_directory(dataset, support)


def support_size(config: ml_collections.ConfigDict, request: Request) -> int:
  """Transitions of an offline support; a run that collected its own data takes as many as in training, if not given."""
  if "collection" in config:
    return request.support_size or config.training.support_size
  return config.evaluation.support_size


def support_order(config: ml_collections.ConfigDict, request: Request) -> str:
  """How the rows of an offline support are drawn, a name in `SUPPORT_ORDERS`."""
  return request.order or "uniform" if "collection" in config else config.evaluation.order


def support_quality(config: ml_collections.ConfigDict) -> str | None:
  """The part of the tasks' own episodes that a support is drawn from; None for all of them."""
  quality = config.evaluation.get("quality", "all")
  return None if quality == "all" else quality


def retrieval_numbers(config: ml_collections.ConfigDict) -> list[Any] | None:
  """Rows, rows kept of each task and what is drawn of the posterior, where the agent adapts to retrieved rows."""
  if "retrieval" not in config or not config.retrieval.enabled:
    return None
  return [config.retrieval[name] for name in ("rows", "rows_per_task", "draw")]


def changes_for_steps(config: ml_collections.ConfigDict, field: str, number: int) -> dict[str, Any]:
  """The fields of an evaluation after a number of adaptation steps, by dotted name.

  Each inner step of meta-training takes rows of its own, and so a support, or the rows that are retrieved in its place,
  grow with their number; a fine-tuning step takes the whole support.
  """
  if field == "rollouts.inner_steps":
    return {field: number}
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    changed.update_from_flattened_dict({field: number})
  parts, needed = (Examined(each).algorithm.support_parts for each in (config, changed))
  sizes = {"evaluation.support_size": config.evaluation.support_size, "retrieval.rows": config.retrieval.rows}
  return {field: number, **{name: size // parts * needed for name, size in sizes.items()}}


def _one_support(directory: Path, config: ml_collections.ConfigDict, request: Request) -> str:
  supports = supports_of(config, request.dataset)
  support = request.support or config.evaluation.get("support", supports[-1])
  if support not in supports:
    hint = "; own and other_policies need --dataset" if "collection" in config else ""
    raise ConfigurationError(
      f"{directory}: --support={support}: expected one of {', '.join(supports)} for {config.algorithm.name}{hint}"
    )
  return support


def _all_supports(directory: Path, config: ml_collections.ConfigDict, request: Request) -> tuple[str, ...]:
  """The supports that a run can be evaluated with; logs why others are not among them, raises where none is."""
  if "rollouts" in config:
    raise ConfigurationError(f"{directory}: --support=all: an on-policy run adapts to its own episodes alone")
  found, without = [], {}
  for support in supports_of(config, request.dataset):
    try:
      request.config(directory, support)
      if request.dataset and support in OTHER_POLICIES:
        read_manifest(other_policies_directory(request.dataset, support))
      found.append(support)
    except ValueError as error:
      without[support] = " ".join(str(error).split())
  if not found:
    raise ConfigurationError(*dict.fromkeys(without.values()))
  for support, reason in without.items():
    log(f"{directory}: without the protocol {PROTOCOLS[support]}: {reason}")
  return tuple(found)


def _check_retrieval(directory: Path, config: ml_collections.ConfigDict, request: Request) -> None:
  """Raises `ConfigurationError` for a flag about retrieval that does not go with the run."""
  if request.retrieval and "dataset" not in config:
    raise ConfigurationError(f"{directory}: --retrieval: expected a run on recorded data, to retrieve from")
  enabled = "dataset" in config and config.retrieval.enabled
  if request.rows_per_task is not None and enabled:
    raise ConfigurationError(
      f"{directory}: --rows_per_task={request.rows_per_task}: the run keeps {config.retrieval.rows_per_task} rows of "
      "each task to retrieve from"
    )
  for flag in ("rows_per_task", "draw"):
    value = getattr(request, flag)
    if value is not None and not (enabled or request.retrieval is not None):
      raise ConfigurationError(f"{directory}: --{flag}={value}: expected --retrieval=on or both beside it")


def _check_rows(directory: Path, supports: Sequence[str], request: Request) -> None:
  """Raises `ConfigurationError` for a flag about supports of recorded rows where there are none."""
  for flag in ("support_size", "order"):
    value = getattr(request, flag)
    if value is not None and not set(supports) & set(OFFLINE):
      raise ConfigurationError(
        f"{directory}: --{flag}={value}: the protocol {PROTOCOLS[supports[0]]} adapts to the agent's own episodes; "
        f"expected a support of recorded rows, one of {', '.join(OFFLINE)}"
      )


def _check_recorded(directory: Path, config: ml_collections.ConfigDict, request: Request) -> None:
  """Raises `ConfigurationError` for a flag that only a run on recorded data has a meaning for, or not beside others."""
  for flag in ("quality", "own_episodes"):
    value = getattr(request, flag)
    if value is None:
      continue
    if "dataset" not in config:
      raise ConfigurationError(f"{directory}: --{flag}={value}: expected a run on recorded data")
    if request.support == ALL:
      raise ConfigurationError(f"{directory}: --{flag}={value}: expected one kind of support, found --support={ALL}")
  if request.own_episodes and request.steps:
    raise ConfigurationError(
      f"{directory}: --own_episodes={request.own_episodes}: the agent is evaluated after numbers of episodes, and "
      "--steps asks for numbers of adaptation steps"
    )


def _check_data(directory: Path, config: ml_collections.ConfigDict, support: str, request: Request) -> None:
  """Raises `ConfigurationError` unless the data of `--dataset` have a support of each test task."""
  if request.dataset is None or "dataset" in config or support not in RECORDED:
    return
  kind = kind_of(config)
  parts = kind.assemble(kind.examine(config), None)
  source, indices = support_dataset(request.dataset, support), parts.splits[0].indices
  tasks = manifest_with(source, parts.family, indices).tasks
  sizes = {index: tasks[index].num_transitions for index in indices}
  if problems := list(missing_rows(support_size(config, request), "test", sizes)):
    raise ConfigurationError(*(f"{directory}: {source}: {problem}" for problem in problems))


def _wanted_steps(
  directory: Path, config: ml_collections.ConfigDict, field: str, support: str, request: Request
) -> tuple[int, ...]:
  """The numbers of steps of `--steps`, in order, 0 among them; none where it is not given.

  Raises:
    ConfigurationError: the agent takes no steps, or the supports are too small for so many.
  """
  if not request.steps:
    return ()
  if not field:
    given, why = ",".join(map(str, request.steps)), f"adaptation of {config.algorithm.name} has no number of steps"
    raise ConfigurationError(f"--steps={given}: {directory}: {why}")
  request.config(directory, support, changes_for_steps(config, field, max(*request.steps, 1)))
  return tuple(sorted({0, *request.steps}))


def _usual_steps(
  directory: Path, config: ml_collections.ConfigDict, field: str, support: str, request: Request
) -> tuple[int, ...]:
  """The numbers of steps without `--steps`: as trained, and those of `DEFAULT_STEPS` that supports suffice for."""
  if not field:
    return ()
  trained = flatten(config.to_dict())[field]
  found = {0, trained}
  for number in DEFAULT_STEPS:
    try:
      request.config(directory, support, changes_for_steps(config, field, number) if number else None)
      found.add(number)
    except ConfigurationError as error:
      if request.steps is None:
        log(f"{directory}: without {number} steps: {'; '.join(error.problems)}")
  return tuple(sorted(found))


def _settings(
  config: ml_collections.ConfigDict, supports: Sequence[str], steps: Sequence[int], request: Request
) -> dict[str, Any]:
  """The settings of an evaluation, by name; None where one has no meaning."""
  has_rows = bool(set(supports) & set(OFFLINE))
  return {
    "support_size": support_size(config, request) if has_rows else None,
    "order": support_order(config, request) if has_rows else None,
    "quality": support_quality(config),
    "own_episodes": config.evaluation.get("own_episodes", 0) or None,
    "steps": list(steps) or None,
    "episodes": config.evaluation.episodes,
    "engine": config.rollouts.engine if "rollouts" in config else config.evaluation.engine,
    "dataset": request.dataset and Path(request.dataset).name,
    "retrieval": retrieval_numbers(config),
    "seed": request.seed,
  }
