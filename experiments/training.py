"""Trains a population from its newest checkpoint to its end: what a run does between loading and its results."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from experiments import report
from experiments.command_line import TrainingError, say
from experiments.interruption import Interrupted, Interruption
from experiments.member_runs import MemberFiles, MemberRun, Start, first_step, newest_common_step, restore
from experiments.non_finite_report import report_stop
from experiments.program import Program, compile_program
from experiments.run_directory import METRICS
from experiments.workload import Workload
from macaw_jax.evaluation.protocols import Evaluation, Row
from macaw_jax.training import devices
from macaw_jax.training.loop import train
from macaw_jax.training.metrics import ProgressLine
from macaw_jax.training.population import (
  MakeAlgorithm,
  MemberParams,
  Population,
  has_stopped,
  initialise_member,
  make_population,
  member,
  no_skips,
  with_hyperparameters,
)


class Session(NamedTuple):
  """What a run has, once everything is checked."""

  config: ml_collections.ConfigDict
  workload: Workload
  make: MakeAlgorithm
  mesh: Mesh | None
  runs: Sequence[MemberRun]
  interruption: Interruption
  continue_changed: bool
  debug_nans: bool

  @property
  def max_skips_in_a_row(self) -> int:
    """Updates skipped in a row that end a member."""
    return 1 if self.debug_nans else self.config.training.max_skips_in_a_row


class Result(NamedTuple):
  """What came out of an evaluation of one member."""

  rows: list[Row]
  evaluation: Evaluation
  step: int  # updates that it has had


Evaluate = Callable[[Population, int], list[Result]]


def train_and_evaluate(session: Session, resources: ExitStack) -> tuple[list[Result], list[str]]:
  """Trains from the newest checkpoint to the end.

  Returns:
    The last evaluation of each member, in the main process, and what could not be written to the disk.

  Raises:
    ConfigurationError: the run's directory does not go with its configuration, or cannot be written.
    Interrupted: a signal came; all is saved that could be.
    TrainingError: every member has stopped, because its numbers were not finite.
  """
  population, step, starts = first_population(session)
  session.interruption.advice = f"the same command continues from update {step}"
  num_steps = session.config.training.steps
  files = MemberFiles(
    session.runs, [start.metrics_rows for start in starts], step, ProgressLine(num_steps, say), resources
  )
  evaluate = make_evaluate(session)
  results = first_evaluation(session, files, evaluate, population, step, all(start.evaluated for start in starts))
  if step < num_steps:
    program = compile_updates(session, population)
    del population  # The program has it.
    results = train_on(session, files, evaluate, program, step)
  return results, files.problems()


def first_population(session: Session) -> tuple[Population, int, list[Start]]:
  """The members as their newest common checkpoint has them, or afresh; its step; and how far their files go.

  Raises:
    ConfigurationError: see `first_step` and `restore`.
  """
  step, starts = first_step(session.runs, session.config.training.steps), []
  for each in session.runs:
    state = initialise_member(session.make, each.member.hyperparameters, each.keys.init)
    beginning = Start(state, no_skips(), metrics_rows=None, evaluated=False)
    starts.append(
      restore(each, step, state, session.workload.statistics, session.continue_changed) if step else beginning
    )
  size = sum(leaf.size for leaf in jax.tree.leaves(starts[0].state.params))
  say(f"  {size:,} parameters on {jax.devices()[0].device_kind}")
  if step:
    say(f"continuing from the checkpoint of update {step}")
  hyperparameters = [each.member.hyperparameters for each in session.runs]
  population = make_population(hyperparameters, [start.state for start in starts], [start.skips for start in starts])
  return population, step, starts


def make_evaluate(session: Session) -> Evaluate:
  """A function that evaluates each member of a population at a step and says what came out."""
  runs = session.runs
  algorithm = with_hyperparameters(session.make, runs[0].member.hyperparameters)
  evaluate_params = session.workload.make_evaluate(session.config, algorithm)

  def evaluate(population: Population, step: int) -> list[Result]:
    results = []
    for index, each in enumerate(runs):
      started = time.monotonic()
      hyperparameters, state = member((population.hyperparameters, population.state), index)
      params = MemberParams(hyperparameters, state.params)
      rows, evaluation = evaluate_params(params, jax.random.fold_in(each.keys.evaluate, step))
      whose = f" of {each.member.label}" if len(runs) > 1 else ""
      seconds = time.monotonic() - started
      say(f"evaluation{whose} after {int(state.step)} updates, in {seconds:.1f} s: {report.summary(rows)}")
      results.append(Result(rows, evaluation, int(state.step)))
    return results

  return evaluate


def first_evaluation(
  session: Session, files: MemberFiles, evaluate: Evaluate, population: Population, step: int, is_evaluated: bool
) -> list[Result]:
  """What is to be evaluated before training: the untrained agent; or where an earlier start was stopped in between."""
  is_finished = step >= session.config.training.steps
  if not devices.is_main_process() or (is_evaluated and not is_finished):
    return []
  if step == 0:
    say("evaluating the untrained agent (this compiles adaptation and episodes) ...")
  elif is_evaluated:
    say("the run is finished already; evaluating it again")
  else:
    say(f"evaluating update {step}, before which the run was stopped ...")
  results = evaluate(population, step)
  if not is_evaluated:
    files.write_evaluation(step, [result.rows for result in results])
  if not is_evaluated and step > 0:
    save(session, files, population, step, results)
  return results


def compile_updates(session: Session, population: Population) -> Program:
  """The compiled program of all members."""
  training = session.config.training
  say(f"compiling {training.log_every} updates into one call ...")
  started = time.monotonic()
  program = compile_program(
    session.config,
    session.workload,
    session.make,
    session.mesh,
    population,
    [each.keys.train for each in session.runs],
    session.max_skips_in_a_row,
  )
  say(f"compiled in {time.monotonic() - started:.1f} s; training to update {training.steps}")
  return program


def train_on(session: Session, files: MemberFiles, evaluate: Evaluate, program: Program, step: int) -> list[Result]:
  """Trains from update `step` to the end, and writes, evaluates and saves on the way.

  Raises:
    Interrupted: a signal came; all is saved that could be.
    TrainingError: no member is left that has not stopped.
  """
  training, interruption = session.config.training, session.interruption
  results: list[Result] | None = []
  have_stopped = np.zeros(len(session.runs), bool)  # Those that had before are reported again.
  started = time.monotonic()
  with interruption.holding():
    for newest, metrics in train(program.chunk, program.population, program.data, program.keys, training.steps):
      step += training.log_every
      of_members = devices.fetch(metrics)
      of_members["steps_per_second"] = np.full(len(session.runs), training.log_every / (time.monotonic() - started))
      files.write(step, [member(of_members, index) for index in range(len(session.runs))])
      on_host = cache(partial(_on_host, session, newest))  # Fetched once, where it is needed at all.
      have_stopped = report_stopped(session, newest, on_host, have_stopped)

      is_last = step >= training.steps
      results = []
      if is_last or step % training.evaluate_every == 0:
        results = evaluate_unless_interrupted(session, files, evaluate, on_host(), step)
      received = devices.largest(interruption.received)
      # After the evaluation, so that what a checkpoint continues has all rows up to its step.
      if received or is_last or step % training.checkpoint_every == 0:
        save(session, files, on_host(), step, results)
      if received:
        devices.wait_for_all("saved")  # One that ends earlier may take the others with it.
        raise Interrupted(received)
      started = time.monotonic()
  return results or []


def evaluate_unless_interrupted(
  session: Session, files: MemberFiles, evaluate: Evaluate, population: Population, step: int
) -> list[Result] | None:
  """The evaluation that is due, in the main process, written; None if a signal ended it."""
  if not devices.is_main_process():
    return []
  try:
    with session.interruption.abandoning():
      results = evaluate(population, step)
  except Interrupted:
    return None
  files.write_evaluation(step, [result.rows for result in results])
  return results


def save(
  session: Session, files: MemberFiles, population: Population, step: int, results: Sequence[Result] | None
) -> None:
  """Saves all members, in the main process.

  Args:
    session: of the run.
    files: of the members.
    population: on the host.
    step: of the run.
    results: of this step, empty where none were due, None where a signal ended them.
  """
  if devices.is_main_process():
    scores = [training_score(session.workload, result.rows) for result in results or ()]
    files.save(
      step,
      population,
      session.workload.statistics,
      scores or [None] * len(session.runs),
      is_evaluated=results is not None,
    )
    session.interruption.advice = f"the same command continues from update {newest_common_step(session.runs)}"


def report_stopped(
  session: Session, population: Population, on_host: Callable[[], Population], have_stopped: np.ndarray
) -> np.ndarray:
  """Says of which members not every number has stayed finite, and why.

  Args:
    session: of the run.
    population: as the newest call has left it.
    on_host: fetches it.
    have_stopped: those that stood still before, `[M]`.

  Returns:
    Those that stand still now, `[M]`.

  Raises:
    TrainingError: all do; or one does, and that is what the run looks for.
  """
  stopped = np.asarray(has_stopped(devices.fetch(population.skips), session.max_skips_in_a_row))
  for index in map(int, np.flatnonzero(stopped & ~have_stopped)):
    report_stop(
      session.config,
      session.workload,
      session.make,
      session.runs[index],
      member(on_host(), index),
      name_operation=session.debug_nans,
    )
  if session.debug_nans and stopped.any():
    raise TrainingError("not every number was finite, and --debug_nans ends the run there; nothing was saved after it")
  if stopped.all():
    raise TrainingError(
      "no member is left that has finite numbers; smaller learning rates or step sizes may help. "
      f"{session.runs[0].directory / METRICS} has the losses until then"
    )
  return stopped


def training_score(workload: Workload, rows: Sequence[Row]) -> float | None:
  """The mean score after adaptation over the rows of training tasks; None without any."""
  scores = [row["score_after"] for row in rows if "score_after" in row and row["task_index"] in workload.train_tasks]
  return float(np.mean(scores)) if scores and np.isfinite(scores).all() else None


def _on_host(session: Session, population: Population) -> Population:
  """The population where one process can read it; of several processes, all must ask for it."""
  return population if session.mesh is None else devices.fetch(population)
