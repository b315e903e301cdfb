"""The members of a run on the disk: where each continues, and the files in each directory."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from macaw_jax.console import log
from macaw_jax.data.statistics import Statistics
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.tables import metrics_of
from macaw_jax.training import devices
from macaw_jax.training.checkpoint_record import OtherVersion
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, OtherRun, SaveError, newest_whole
from macaw_jax.training.metrics import JsonLinesWriter, ProgressLine, TensorBoardWriter
from macaw_jax.training.population import Population, member
from macaw_jax.training.provenance import code_identity
from macaw_jax.training.results import Result
from macaw_jax.training.run import Member, Run
from macaw_jax.training.run_directory import (
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
  describe_start,
  record_start,
  settings_digest,
)
from macaw_jax.types import Key

ACCEPTABLE = (CONFIGURATION, SUPPORT)  # may have changed, with --continue_changed
METRICS_ROWS, EVALUATED = "metrics_rows", "evaluated"  # the progress that a checkpoint notes


class Keys(NamedTuple):
  """The streams of randomness of a member."""

  init: Key
  train: Key  # batches and updates
  evaluate: Key  # supports and starts
  source: Key  # draws of the source, on the host


class OpenMember(NamedTuple):
  """A member whose directory is open."""

  member: Member
  keys: Keys
  checkpoints: Checkpoints

  @property
  def directory(self) -> Path:
    """Where its files are."""
    return self.member.directory

  @property
  def name(self) -> str:
    """Its name in a log."""
    return self.member.label or "this run"


class Start(NamedTuple):
  """Where a member starts."""

  checkpoint: Checkpoint
  metrics_rows: int | None  # that belong to this state; None begins anew
  evaluated: bool  # whether the evaluation that is due at this step has been made


def keys_of(seed: int) -> Keys:
  """The streams of a seed. The source splits its own off the key of the run itself."""
  key = jax.random.key(seed)
  init, train, evaluate = jax.random.split(key, 3)
  return Keys(init, train, evaluate, source=key)


def document_of(run: Run, each: Member) -> dict[str, Any]:
  """The content of a member's `config.json`."""
  return {"algorithm": run.algorithm, "seed": each.seed, "agent": run.agent, "config": each.config}


def code_of(run: Run) -> dict[str, Any]:
  """The code that a run's numbers follow from: packages, source files, and the file of a family of one's own."""
  return code_identity(run.family.source if run.family else "")


def open_members(run: Run, resources: ExitStack, *, continue_changed: bool) -> tuple[OpenMember, ...]:
  """Makes or finds the directories of all members; `resources` closes what is open in them.

  One of several processes makes them, and the others find them. Nothing is written before all are claimed.

  Raises:
    ConfigurationError: a directory belongs to another run, or to none, or its run is going on, or some members have
      checkpoints and others are new.
  """
  with devices.main_process_first("directories"):
    if devices.is_main_process():
      require_same_beginning(run.members)
      for each in run.members:
        claim_directory(each.directory, resources)
      for each in run.members:
        begin_or_continue(
          each.directory,
          document_of(run, each),
          run.may_change,
          run.follows,
          code=code_of(run),
          continue_changed=continue_changed,
        )
  return tuple(_open(run, each, resources) for each in run.members)


def require_same_beginning(members: Sequence[Member]) -> None:
  """Raises `ConfigurationError`, which says what to do, if some members have checkpoints and others are new."""
  begun = {each.directory: each.seed for each in members if any((each.directory / CHECKPOINTS).glob("[0-9]*"))}
  new = {each.directory: each.seed for each in members if not (each.directory / CONFIG_FILE).is_file()}
  if not begun or not new:
    return
  how, seeds = "start those that are new alone", set(new.values())
  if not seeds & set(begun.values()):
    how += f" (--config.seed={min(seeds)} --config.population.seeds={max(seeds) - min(seeds) + 1})"
  prefix = os.path.commonprefix([str(each.directory) for each in members])  # noqa: RUF071 (of names, not of folders)
  raise ConfigurationError(
    f"config.population: {', '.join(map(str, begun))} went on without {', '.join(map(str, new))}; {how}, then show all "
    f"with python -m experiments.compare {prefix}*"
  )


def _open(run: Run, each: Member, resources: ExitStack) -> OpenMember:
  keys = keys_of(each.seed)
  made_of = {
    CONFIGURATION: settings_digest(each.config, run.may_change),
    **run.identity,
    "random numbers": str(jax.random.key_data(keys.train).tolist()),
  }
  return OpenMember(each, keys, resources.enter_context(Checkpoints(each.directory / CHECKPOINTS, made_of)))


def newest_common_step(members: Sequence[OpenMember]) -> int:
  """The newest step that every member has a checkpoint of, 0 where there is none."""
  return max(set.intersection(*(set(each.checkpoints.steps()) for each in members)), default=0)


def first_step(members: Sequence[OpenMember], num_steps: int) -> int:
  """Where the members start: at the newest checkpoint that all have and that is as it was saved; without any, at 0.

  A damaged checkpoint is logged, and set aside.

  Raises:
    ConfigurationError: no checkpoint is whole, a finished run has none, a member has gone beyond `num_steps`, members
      have checkpoints and none in common, this release cannot read them, or not all processes see the same.
  """
  with devices.main_process_first("checkpoints"):
    try:
      step = _newest_whole_step([each.checkpoints for each in members])
    except (OSError, OtherVersion) as error:
      raise ConfigurationError(f"config.output_directory: {error}") from error
  finished = [each for each in members if (each.directory / RESULTS).is_file() and not each.checkpoints.steps()]
  if step is None and finished:
    raise ConfigurationError(
      *(f"{each.directory} has {RESULTS}, but no checkpoint to go on from" for each in finished),
      "choose another --config.output_directory, or remove that run to begin it anew",
    )
  newest = [each.checkpoints.newest_step() or 0 for each in members]
  if max(newest) > num_steps:
    raise ConfigurationError(f"config.training.steps = {num_steps}: this run has had {max(newest)} updates already")
  if not devices.all_agree(step or 0):
    raise ConfigurationError(
      "config.output_directory: the processes find different checkpoints; expected a folder that all machines share"
    )
  if step is None and any(newest) and not _is_first_save(members):
    reached = ", ".join(f"{each.directory} at {step}" for each, step in zip(members, newest, strict=True))
    raise ConfigurationError(
      f"config.population: its members have no checkpoint of one step in common ({reached}); continue those that are "
      "behind alone, or choose another --config.output_directory"
    )
  return step or 0


def _newest_whole_step(runs: Sequence[Checkpoints]) -> int | None:
  """The newest step that all have whole; the main process sets aside what is damaged."""
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
      log(f"WARNING: {error}; kept as {checkpoints.set_aside(of_step)}, going on from an older checkpoint")
  return step


def _is_first_save(members: Sequence[OpenMember]) -> bool:
  """Whether some members have a first checkpoint and the others none, because the run was ended between the two."""
  steps = set().union(*(each.checkpoints.steps() for each in members))
  return len(steps) == 1 and not any((each.directory / RESULTS).exists() for each in members)


def restore(each: OpenMember, step: int, like: Checkpoint, *, fixed_statistics: bool, continue_changed: bool) -> Start:
  """A member as its checkpoint of `step` has it.

  Args:
    each: the member.
    step: of the checkpoint.
    like: the structure of the checkpoint, and its statistics where they are fixed.
    fixed_statistics: whether the statistics follow from the data.
    continue_changed: whether another configuration is accepted.

  Raises:
    ConfigurationError: the checkpoint has other shapes, or belongs to another run, or the data are not those that the
      run began with.
  """
  try:
    checkpoint, note = each.checkpoints.restore(like, step, may_differ=ACCEPTABLE if continue_changed else ())
  except OtherRun as error:
    changed = "the data have changed since this run began" if DATASET in error.names else str(error)
    accept = ", or add --continue_changed" if set(error.names) <= set(ACCEPTABLE) else ""
    raise ConfigurationError(
      f"{', '.join(error.names)}: {changed}; choose another --config.output_directory{accept}"
    ) from error
  except ValueError as error:
    raise ConfigurationError(f"{each.directory}: {' '.join(str(error).split())[:500]}") from error
  if fixed_statistics and not all(map(np.array_equal, checkpoint.statistics, like.statistics)):
    raise ConfigurationError(
      "config.dataset: its statistics have changed since this run began; choose another --config.output_directory"
    )
  return Start(checkpoint, note.progress[METRICS_ROWS], note.progress[EVALUATED])


class MemberFiles:
  """The metrics and checkpoints of all members, each in its own directory. Only the main process writes.

  A disk that refuses does not end training: a refusal is logged, and tried again at the next time.

  Args:
    run: the run.
    members: of the run, open.
    metrics_rows: how many rows each member keeps of those that are there; None for a run that begins.
    step: where they continue.
    progress: shows the mean over members.
    resources: closes the files.

  Raises:
    ConfigurationError: a directory cannot be written at all.
  """

  def __init__(
    self,
    run: Run,
    members: Sequence[OpenMember],
    metrics_rows: Sequence[int | None],
    step: int,
    progress: ProgressLine,
    resources: ExitStack,
  ):
    self._members = members if devices.is_main_process() else ()
    self._keep = run.schedule.keep_checkpoints
    self._progress = progress
    self._json: list[JsonLinesWriter] = []
    self._writers: list[list[JsonLinesWriter | TensorBoardWriter]] = []
    self._unwritten: set[int] = set()  # members whose newest rows the disk has refused
    self._unsaved: dict[int, str] = {}
    start = describe_start()
    for each, rows in zip(self._members, metrics_rows, strict=False):
      record_start(each.directory, document_of(run, each.member), start, code_of(run))
      try:
        json_lines = JsonLinesWriter(each.directory / METRICS, rows)
      except OSError as error:
        raise ConfigurationError(f"config.output_directory: {each.directory} cannot be written: {error}") from error
      if json_lines.damaged_rows:
        kept = f"; kept as {json_lines.set_aside}" if json_lines.set_aside else ""
        log(f"WARNING: {each.directory / METRICS}: {json_lines.damaged_rows} rows are missing or damaged{kept}")
      self._json.append(json_lines)
      self._writers.append([json_lines])
      try:
        self._writers[-1].append(TensorBoardWriter(each.directory / TENSORBOARD, None if rows is None else step))
      except OSError as error:
        log(f"WARNING: nothing for TensorBoard: {error}")
      for writer in self._writers[-1]:
        resources.callback(writer.close)

  def write(self, step: int, metrics: Sequence[Mapping[str, float]]) -> None:
    """Takes the metrics of each member at one step."""
    if not self._writers:
      return
    for index, (writers, of_member) in enumerate(zip(self._writers, metrics, strict=True)):
      for writer in writers:
        writer.write(step, of_member)
      problem = next((writer.problem for writer in writers if writer.problem), None)
      if problem and index not in self._unwritten:
        log(f"WARNING: {self._members[index].directory}: rows are kept until they can be written: {problem}")
      self._unwritten = self._unwritten | {index} if problem else self._unwritten - {index}
    values = {name: np.array([of_member[name] for of_member in metrics]) for name in metrics[0]}
    finite = {name: of_all[np.isfinite(of_all)] for name, of_all in values.items()}
    self._progress.write(step, {name: np.mean(some) if len(some) else np.nan for name, some in finite.items()})

  def write_evaluation(self, step: int, results: Sequence[Result]) -> None:
    """Writes the returns of each member's evaluation, and its other metrics, if there was one."""
    if all(result.rows for result in results):
      self.write(step, [metrics_of(result.rows) | dict(result.metrics) for result in results])

  def save(
    self,
    step: int,
    population: Population,
    data: Sequence[Any],
    statistics: Sequence[Statistics],
    scores: Sequence[float | None],
    *,
    is_evaluated: bool,
  ) -> None:
    """Saves a checkpoint of each member.

    Args:
      step: of the run.
      population: fetched to this process.
      data: of each member; None where the source does not change them.
      statistics: of each member.
      scores: of each member on training tasks; None where it was not evaluated on any.
      is_evaluated: whether the evaluation that is due at this step is in the metrics.
    """
    for index, (each, json_lines) in enumerate(zip(self._members, self._json, strict=True)):
      state, skips = member((population.state, population.skips), index)
      json_lines.sync()  # The rows that the checkpoint counts.
      progress = {METRICS_ROWS: json_lines.num_rows, EVALUATED: is_evaluated}
      checkpoint = Checkpoint(state, statistics[index], skips, data[index])
      try:
        each.checkpoints.save(step, checkpoint, score=scores[index], progress=progress)
        self._unsaved.pop(index, None)
      except SaveError as error:
        self._unsaved[index] = str(error)
        log(f"WARNING: update {step} is NOT saved: {error}")
    if not self._unsaved:
      for each in self._members:
        each.checkpoints.remove_older(step, self._keep)

  def problems(self) -> list[str]:
    """A line for each checkpoint and each file of rows that is not on the disk and should be."""
    unsaved = [
      f"{error}; its newest checkpoint is of update {self._members[index].checkpoints.newest_step() or 0}"
      for index, error in self._unsaved.items()
    ]
    return unsaved + [
      f"{each.directory / METRICS}: {rows.pending} rows could not be written: {rows.problem}"
      for each, rows in zip(self._members, self._json, strict=True)
      if rows.pending
    ]
