"""The directories of a population's members: where each continues, and what is written into each."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import report
from experiments.command_line import say
from experiments.configuration import ConfigurationError
from experiments.population import Member
from experiments.run_directory import (
  CHECKPOINTS,
  CONFIG_FILE,
  CONFIGURATION,
  DATASET,
  METRICS,
  RESULTS,
  SUPPORT,
  TENSORBOARD,
  begin_or_continue,
  claim_directory,
  configuration_identity,
  data_identity,
  describe_start,
  directory_of,
  record_start,
)
from experiments.run_groups import kind_of_run
from macaw_jax.data.statistics import Statistics
from macaw_jax.evaluation.protocols import Row
from macaw_jax.training import devices
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, OtherRun, OtherVersion, SaveError, newest_whole
from macaw_jax.training.metrics import JsonLinesWriter, MetricWriter, TensorBoardWriter, WriterGroup
from macaw_jax.training.population import Population, Skips, member, no_skips
from macaw_jax.types import Key, TrainState

ACCEPTABLE = (CONFIGURATION, SUPPORT)  # what may have changed where the user says so
METRICS_ROWS, EVALUATED = "metrics_rows", "evaluated"  # What a checkpoint notes of the run's progress.


class Keys(NamedTuple):
  """The streams of randomness of a run."""

  init: Key
  train: Key  # data and updates
  evaluate: Key  # supports and starts


class MemberRun(NamedTuple):
  """A member and its directory."""

  member: Member
  directory: Path
  keys: Keys
  checkpoints: Checkpoints

  @property
  def name(self) -> str:
    """For people."""
    return self.member.label or "this run"


class Start(NamedTuple):
  """Where a member starts."""

  state: TrainState
  skips: Skips
  metrics_rows: int | None  # of its metrics that belong to this state; None begins anew
  evaluated: bool  # whether the evaluation that is due at this step has been made


def open_members(
  members: Sequence[Member], resources: ExitStack, *, continue_changed: bool = False
) -> tuple[MemberRun, ...]:
  """Makes or finds the directories of all members; `resources` closes what is open in them.

  Of several processes the first makes them, and the others find them. Nothing is written before all are claimed.

  Raises:
    ConfigurationError: a directory belongs to another run, or to none, or its run is going on, or some members have
      checkpoints and others are new.
  """
  with devices.main_process_first("directories"):
    if devices.is_main_process():
      require_same_beginning(members)
      for each in members:
        claim_directory(directory_of(each.config), resources)
      for each in members:
        begin_or_continue(directory_of(each.config), each.config, continue_changed=continue_changed)
  of_data = data_identity(members[0].config)  # Members have the same.
  return tuple(_member_run(each, of_data, resources) for each in members)


def require_same_beginning(members: Sequence[Member]) -> None:
  """Raises `ConfigurationError`, which says what to do, if some members have checkpoints and others are new."""
  directories = {directory_of(each.config): each.config for each in members}
  begun = {path: config for path, config in directories.items() if any((path / CHECKPOINTS).glob("[0-9]*"))}
  new = {path: config for path, config in directories.items() if not (path / CONFIG_FILE).is_file()}
  if not begun or not new:
    return
  of_begun, of_new = ({config.seed for config in each.values()} for each in (begun, new))
  how = "start those that are new alone"
  if not of_begun & of_new:
    how += f" (--config.seed={min(of_new)} --config.population.seeds={max(of_new) - min(of_new) + 1})"
  command = kind_of_run(members[0].config)[1]
  prefix = os.path.commonprefix([str(path) for path in directories])  # noqa: RUF071 (of names, not of folders)
  raise ConfigurationError(
    f"config.population: {', '.join(map(str, begun))} went on without {', '.join(map(str, new))}; {how}, then show all "
    f"with python -m experiments.{command} {prefix}*"
  )


def _member_run(each: Member, of_data: dict[str, str], resources: ExitStack) -> MemberRun:
  directory = directory_of(each.config)
  keys = Keys(*jax.random.split(jax.random.key(each.config.seed), len(Keys._fields)))
  random_numbers = {"random numbers": str(jax.random.key_data(keys.train).tolist())}
  made_of = configuration_identity(each.config) | of_data | random_numbers
  checkpoints = Checkpoints(directory / CHECKPOINTS, made_of)
  return MemberRun(each, directory, keys, resources.enter_context(checkpoints))


def newest_common_step(runs: Sequence[MemberRun]) -> int:
  """The newest step that every member has a checkpoint of, 0 where there is none."""
  return max(set.intersection(*(set(run.checkpoints.steps()) for run in runs)), default=0)


def first_step(runs: Sequence[MemberRun], num_steps: int) -> int:
  """Where the members start: at the newest checkpoint that all have and that is as it was saved; without any, at 0.

  What is damaged is said, and set aside.

  Raises:
    ConfigurationError: no checkpoint is whole, a finished run has none, a member has gone beyond `num_steps`, members
      have checkpoints and none in common, this release cannot read them, or not all processes see the same.
  """
  with devices.main_process_first("checkpoints"):
    try:
      step = _newest_whole_step([run.checkpoints for run in runs])
    except (OSError, OtherVersion) as error:
      raise ConfigurationError(f"config.output_directory: {error}") from error
  finished = [run for run in runs if (run.directory / RESULTS).is_file() and not run.checkpoints.steps()]
  if step is None and finished:
    raise ConfigurationError(
      *(f"{run.directory} has {RESULTS}, but no checkpoint to go on from" for run in finished),
      "choose another --config.output_directory, or remove that run to begin it anew",
    )
  newest = [run.checkpoints.newest_step() or 0 for run in runs]
  if max(newest) > num_steps:
    raise ConfigurationError(f"config.training.steps = {num_steps}: this run has had {max(newest)} updates already")
  if not devices.all_agree(step or 0):
    raise ConfigurationError(
      "config.output_directory: the processes find different checkpoints; expected a folder that all machines share"
    )
  if step is None and any(newest) and not _is_first_save(runs):
    reached = ", ".join(f"{run.directory} at {step}" for run, step in zip(runs, newest, strict=True))
    raise ConfigurationError(
      f"config.population: its members have no checkpoint of one step in common ({reached}); continue those that are "
      "behind alone, or choose another --config.output_directory"
    )
  return step or 0


def _newest_whole_step(runs: Sequence[Checkpoints]) -> int | None:
  """The newest step that all have whole; the process that writes sets aside what is damaged."""
  if devices.is_main_process():
    for checkpoints in runs:
      checkpoints.remove_unfinished()
  step, damaged = newest_whole(runs)
  if damaged and step is None:
    raise ConfigurationError(
      *(str(error) for *_, error in damaged),
      "config.output_directory: no checkpoint is as it was saved; choose another, or remove the run to begin it anew",
    )
  if devices.is_main_process():
    for checkpoints, of_step, error in damaged:
      say(f"WARNING: {error}; kept as {checkpoints.set_aside(of_step)}, going on from an older checkpoint")
  return step


def _is_first_save(runs: Sequence[MemberRun]) -> bool:
  """Whether some members have a first checkpoint and the others none, because the run was ended between the two."""
  steps = {step for run in runs for step in run.checkpoints.steps()}
  return len(steps) == 1 and not any((run.directory / RESULTS).exists() for run in runs)


def restore(run: MemberRun, step: int, state: TrainState, statistics: Statistics, continue_changed: bool) -> Start:
  """A member as its checkpoint of `step` has it; `state` has the structure of its state.

  Raises:
    ConfigurationError: the checkpoint has other shapes, or belongs to another run, or the data are not those that the
      run began with.
  """
  like = Checkpoint(state, statistics, no_skips())
  try:
    checkpoint, note = run.checkpoints.restore(like, step, may_differ=ACCEPTABLE if continue_changed else ())
  except OtherRun as error:
    changed = "the data have changed since this run began" if DATASET in error.names else str(error)
    accept = ", or add --continue_changed" if set(error.names) <= set(ACCEPTABLE) else ""
    raise ConfigurationError(
      f"{', '.join(error.names)}: {changed}; choose another --config.output_directory{accept}"
    ) from error
  except ValueError as error:
    raise ConfigurationError(f"{run.directory}: {' '.join(str(error).split())[:500]}") from error
  if not all(np.array_equal(*pair) for pair in zip(checkpoint.statistics, statistics, strict=True)):
    raise ConfigurationError(
      "config.dataset: its statistics have changed since this run began; choose another --config.output_directory"
    )
  return Start(checkpoint.state, checkpoint.skips, note.progress[METRICS_ROWS], note.progress[EVALUATED])


class MemberFiles:
  """What is written of all members: metrics, each into its own files, and checkpoints. Only the first process writes.

  A disk that refuses does not end training: what could not be written is said, tried again at the next time, and left
  in `problems`.

  Args:
    runs: of the members.
    metrics_rows: of each member, of the rows that are there, how many it keeps; None of a run that begins.
    first_step: where they continue.
    progress: shows the mean over members.
    resources: closes the files.

  Raises:
    ConfigurationError: a directory cannot be written at all.
  """

  def __init__(
    self,
    runs: Sequence[MemberRun],
    metrics_rows: Sequence[int | None],
    first_step: int,
    progress: MetricWriter,
    resources: ExitStack,
  ):
    self._runs = runs if devices.is_main_process() else ()
    self._progress = progress
    self._json: list[JsonLinesWriter] = []
    self._writers: list[WriterGroup] = []
    self._unwritten: set[int] = set()  # members whose newest rows the disk has refused
    self._unsaved: dict[int, str] = {}
    start = describe_start()
    for run, rows in zip(self._runs, metrics_rows, strict=False):
      record_start(run.directory, run.member.config, start)
      try:
        json_lines = JsonLinesWriter(run.directory / METRICS, rows)
      except OSError as error:
        raise ConfigurationError(f"config.output_directory: {run.directory} cannot be written: {error}") from error
      if json_lines.damaged_rows:
        kept = f"; kept as {json_lines.set_aside}" if json_lines.set_aside else ""
        say(f"WARNING: {run.directory / METRICS}: {json_lines.damaged_rows} rows are missing or damaged{kept}")
      self._json.append(json_lines)
      boards = []
      try:
        boards.append(TensorBoardWriter(run.directory / TENSORBOARD, None if rows is None else first_step))
      except OSError as error:
        say(f"WARNING: nothing for TensorBoard: {error}")
      self._writers.append(resources.enter_context(WriterGroup(json_lines, *boards)))

  def write_evaluation(self, step: int, rows: Sequence[Sequence[Row]]) -> None:
    """Takes the rows of an evaluation of each member."""
    self.write(step, [report.evaluation_metrics(of_member) for of_member in rows])

  def write(self, step: int, metrics: Sequence[Mapping[str, float]]) -> None:
    """Takes the metrics of each member at one step."""
    if not self._writers:
      return
    for index, (writer, of_member) in enumerate(zip(self._writers, metrics, strict=True)):
      writer.write(step, of_member)
      if writer.problem is None:
        self._unwritten.discard(index)
      elif index not in self._unwritten:
        self._unwritten.add(index)
        say(f"WARNING: {self._runs[index].directory}: rows are kept until they can be written: {writer.problem}")
    means = {name: np.array([of_member[name] for of_member in metrics]) for name in metrics[0]}
    self._progress.write(step, {name: _mean_of_finite(values) for name, values in means.items()})

  def save(
    self,
    step: int,
    population: Population,
    statistics: Statistics,
    scores: Sequence[float | None],
    *,
    is_evaluated: bool,
  ) -> None:
    """Saves a checkpoint of each member.

    Args:
      step: of the run.
      population: fetched to this process.
      statistics: of the run's data.
      scores: of each member on training tasks; None where it was not evaluated on any.
      is_evaluated: whether the evaluation that is due at this step is in the metrics.
    """
    for index, (run, json_lines, score) in enumerate(zip(self._runs, self._json, scores, strict=True)):
      state, skips = member((population.state, population.skips), index)
      json_lines.sync()  # The rows that the checkpoint counts.
      progress = {METRICS_ROWS: json_lines.num_rows, EVALUATED: is_evaluated}
      try:
        run.checkpoints.save(step, Checkpoint(state, statistics, skips), score=score, progress=progress)
        self._unsaved.pop(index, None)
      except SaveError as error:
        self._unsaved[index] = str(error)
        say(f"WARNING: update {step} is NOT saved: {error}")
    if not self._unsaved:
      for run in self._runs:
        run.checkpoints.remove_older(step, run.member.config.training.keep_checkpoints)

  def problems(self) -> list[str]:
    """What is not on the disk and should be."""
    newest = {index: self._runs[index].checkpoints.newest_step() or 0 for index in self._unsaved}
    problems = [
      f"{error}; its newest checkpoint is of update {newest[index]}" for index, error in self._unsaved.items()
    ]
    for run, json_lines in zip(self._runs, self._json, strict=True):
      if json_lines.pending:
        problems.append(
          f"{run.directory / METRICS}: {json_lines.pending} rows could not be written: {json_lines.problem}"
        )
    return problems


def _mean_of_finite(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(np.mean(finite)) if len(finite) else float("nan")
