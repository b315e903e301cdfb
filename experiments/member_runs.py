"""The directories of a population's members: where each continues, and what is written into each."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import report
from experiments.configuration import ConfigurationError
from experiments.population import Member
from experiments.run_directory import CHECKPOINTS, METRICS, TENSORBOARD, open_directory, record_start
from macaw_jax.data.statistics import Statistics
from macaw_jax.evaluation.protocols import Row
from macaw_jax.training import devices
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.metrics import JsonLinesWriter, MetricWriter, TensorBoardWriter, WriterGroup
from macaw_jax.types import Key, TrainState


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


def open_members(members: Sequence[Member], resources: ExitStack) -> tuple[MemberRun, ...]:
  """Makes or finds the directories of all members; `resources` closes what is open in them.

  Of several processes the first makes them, and the others find them.

  Raises:
    ConfigurationError: a directory belongs to another run, or to none.
  """
  if not devices.is_main_process():
    devices.wait_for_all("directories")
  directories = [open_directory(member.config) for member in members]
  if devices.is_main_process():
    devices.wait_for_all("directories")
  return tuple(
    MemberRun(
      member,
      directory,
      Keys(*jax.random.split(jax.random.key(member.config.seed), len(Keys._fields))),
      resources.enter_context(Checkpoints(directory / CHECKPOINTS)),
    )
    for member, directory in zip(members, directories, strict=True)
  )


def newest_common_step(runs: Sequence[MemberRun]) -> int:
  """The newest step that every member has a checkpoint of, 0 where there is none."""
  return max(set.intersection(*(set(run.checkpoints.steps()) for run in runs)), default=0)


def first_step(runs: Sequence[MemberRun], num_steps: int) -> int:
  """Where the members start: at their newest common checkpoint, or at 0 where none has any.

  Raises:
    ConfigurationError: a member has gone beyond `num_steps`, members have checkpoints and none in common, or not all
      processes see the same.
  """
  newest = [run.checkpoints.newest_step() or 0 for run in runs]
  if max(newest) > num_steps:
    raise ConfigurationError(f"config.training.steps = {num_steps}: this run has had {max(newest)} updates already")
  step = newest_common_step(runs)
  if not devices.all_agree(step):
    raise ConfigurationError(
      "config.output_directory: the processes find different checkpoints; expected a folder that all machines share"
    )
  if step == 0 and any(newest):
    reached = ", ".join(f"{run.directory} at {step}" for run, step in zip(runs, newest, strict=True))
    raise ConfigurationError(
      f"config.population: its members have no checkpoint of one step in common ({reached}); continue those that are "
      "behind alone, or choose another --config.output_directory"
    )
  return step


def restore(run: MemberRun, step: int, state: TrainState, statistics: Statistics) -> TrainState:
  """The state of a member's checkpoint of `step`; `state` has its structure.

  Raises:
    ConfigurationError: the checkpoint has other shapes, or the data are not those that the run began with.
  """
  try:
    checkpoint = run.checkpoints.restore(Checkpoint(state, statistics), step)
  except ValueError as error:
    raise ConfigurationError(f"{run.directory}: {' '.join(str(error).split())[:500]}") from error
  if not all(np.array_equal(*pair) for pair in zip(checkpoint.statistics, statistics, strict=True)):
    raise ConfigurationError("config.dataset: the data have changed since this run began; choose another directory")
  return checkpoint.state


class MemberWriters:
  """The metrics of all members: each into its own files, and their mean on the terminal. Only the first process writes.

  Args:
    runs: of the members.
    first_step: where they continue.
    progress: shows the mean over members.
    resources: closes the files.
  """

  def __init__(self, runs: Sequence[MemberRun], first_step: int, progress: MetricWriter, resources: ExitStack):
    self._progress = progress
    self._writers: list[WriterGroup] = []
    for run in runs if devices.is_main_process() else ():
      record_start(run.directory, run.member.config)
      files = (
        JsonLinesWriter(run.directory / METRICS, first_step),
        TensorBoardWriter(run.directory / TENSORBOARD, first_step),
      )
      self._writers.append(resources.enter_context(WriterGroup(*files)))

  def write_evaluation(self, step: int, rows: Sequence[Sequence[Row]]) -> None:
    """Takes the rows of an evaluation of each member."""
    self.write(step, [report.evaluation_metrics(of_member) for of_member in rows])

  def write(self, step: int, metrics: Sequence[Mapping[str, float]]) -> None:
    """Takes the metrics of each member at one step."""
    for writer, of_member in zip(self._writers, metrics, strict=True):
      writer.write(step, of_member)
    means = {name: np.array([of_member[name] for of_member in metrics]) for name in metrics[0]}
    self._progress.write(step, {name: _mean_of_finite(values) for name, values in means.items()})


def _mean_of_finite(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(np.mean(finite)) if len(finite) else float("nan")
