"""A training session: from the newest checkpoint of a run to its end, whatever its batches come from."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from macaw_jax.console import log
from macaw_jax.data.statistics import Statistics
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.evaluation.latents import (
  LATENT_R2,
  Reading,
  ReadLatents,
  describe_nothing,
  make_read_latents,
  reads_latent,
)
from macaw_jax.evaluation.rows import Row
from macaw_jax.evaluation.tables import summary
from macaw_jax.sources.source import Data
from macaw_jax.training import devices
from macaw_jax.training.checkpoints import Checkpoint
from macaw_jax.training.interruption import Interrupted, Interruption
from macaw_jax.training.loop import Chunk, State, compile_chunk
from macaw_jax.training.members import (
  MemberFiles,
  OpenMember,
  Start,
  first_step,
  newest_common_step,
  open_members,
  restore,
)
from macaw_jax.training.metrics import ProgressLine
from macaw_jax.training.non_finite import Attempt, compile_with_skips
from macaw_jax.training.non_finite_report import report_stop
from macaw_jax.training.population import (
  Population,
  PopulationChunk,
  acting_algorithm,
  has_stopped,
  initialise_member,
  make_population,
  member,
  member_params,
  no_skips,
  stack,
)
from macaw_jax.training.results import Result, finish
from macaw_jax.training.run import Run
from macaw_jax.training.run_directory import METRICS
from macaw_jax.training.value_divergence import VALUES_DIVERGE, Divergence, describe_divergence, divergence
from macaw_jax.types import Key, Params


class Session(NamedTuple):
  """A run whose directories are open."""

  run: Run
  members: Sequence[OpenMember]
  mesh: Mesh | None
  interruption: Interruption
  continue_changed: bool
  debug_nans: bool
  read_latents: ReadLatents | None  # where the agent reads a latent, and the training tasks are known

  @property
  def max_skips_in_a_row(self) -> int:
    """Updates skipped in a row that end a member."""
    return 1 if self.debug_nans else self.run.schedule.max_skips_in_a_row

  @property
  def own_data(self) -> bool:
    """Whether each member has data of its own, `[M, ...]`, which change while it trains."""
    return self.run.source.refresh is not None


class Moment(NamedTuple):
  """The state of a run between two compiled calls."""

  population: Population
  data: Data  # of all members, or where the source changes them, `[M, ...]`


def train_run(
  run: Run, *, interruption: Interruption | None = None, continue_changed: bool = False, debug_nans: bool = False
) -> list[Result]:
  """Trains the members of a run, evaluates them now and then, and writes each into its own directory.

  The same call again continues a run that was stopped or killed, from its newest checkpoint.

  Args:
    run: the algorithm, its data and its schedule.
    interruption: listens for signals; without it, they do to the caller's process what they did before.
    continue_changed: whether a run goes on although its settings or its code have changed since it began.
    debug_nans: whether the first update that is not finite ends the run, and is looked into.

  Returns:
    The last evaluation of each member, in the main process.

  Raises:
    ConfigurationError: a directory does not go with the run, or cannot be written, or the devices do not.
    Interrupted: a signal came; all is saved that could be.
    TrainingError: no member has finite numbers any more, or not all could be saved.
  """
  interruption = interruption or Interruption()
  with ExitStack() as resources:
    resources.enter_context(devices.main_process_logs())
    mesh = make_mesh(run)
    for line in run.description:
      log(f"  {line}")
    members = open_members(run, resources, continue_changed=continue_changed)
    log(f"run directory: {', '.join(str(each.directory) for each in members)}")
    session = Session(run, members, mesh, interruption, continue_changed, debug_nans, latent_reading(run))
    try:
      results, problems = train_and_evaluate(session, resources)
    except Interrupted:
      log(interruption.advice)
      raise
    if devices.is_main_process():
      try:
        finish(run, results)
      except OSError as error:
        problems.append(f"the results could not be written: {error}; the same command writes them again")
    if problems:
      raise TrainingError(*problems)
    return results


def latent_reading(run: Run) -> ReadLatents | None:
  """How the latents of any member are read; None for an agent without latents, or tasks that are not known."""
  source, hyperparameters = run.source, run.members[0].hyperparameters
  if source.tasks is None or not reads_latent(run.make_algorithm(**hyperparameters)):
    return None
  acting = acting_algorithm(run.make_algorithm, hyperparameters)
  return make_read_latents(acting, source.sample, source.tasks, tasks_per_batch=source.tasks_per_update)


def make_mesh(run: Run) -> Mesh | None:
  """The devices of a run; None is the first one alone.

  Raises:
    ConfigurationError: there are fewer, or they do not divide members or tasks.
  """
  seed, task, distributed = run.devices
  if seed == task == 1 and not distributed:
    return None
  try:
    return devices.make_mesh(seed, task, members=len(run.members), tasks=run.source.tasks_per_update)
  except ValueError as error:
    raise ConfigurationError(f"config.devices: {error}") from error


def train_and_evaluate(session: Session, resources: ExitStack) -> tuple[list[Result], list[str]]:
  """Trains from the newest checkpoint to the end.

  Returns:
    The last evaluation of each member, in the main process, and what could not be written to the disk.
  """
  run, num_steps = session.run, session.run.schedule.steps
  moment, step, starts = first_moment(session)
  session.interruption.advice = f"the same command continues from update {step}"
  rows = [start.metrics_rows for start in starts]
  files = MemberFiles(run, session.members, rows, step, ProgressLine(num_steps, log), resources)
  results = first_evaluation(session, files, moment, step, all(start.evaluated for start in starts))
  if step < num_steps:
    chunk, moment, keys = compile_program(session, moment)
    results = train_on(session, files, chunk, moment, keys, step)
  return results, files.problems()


def first_moment(session: Session) -> tuple[Moment, int, list[Start]]:
  """The members as their newest common checkpoint has them, or new; its step; and where each starts."""
  run, source, members = session.run, session.run.source, session.members
  step, starts = first_step(members, run.schedule.steps), []
  states = [initialise_member(run.make_algorithm, each.member.hyperparameters, each.keys.init) for each in members]
  shared = None if session.own_data else source.init(states[0].params, members[0].keys.source)
  for each, state in zip(members, states, strict=True):
    if not session.own_data:
      data = shared
    elif step and source.empty:
      data = source.empty()
    else:
      log(f"collecting the first episodes of {each.name} ...")
      data = source.init(member_params(dict(each.member.hyperparameters), state.params), each.keys.source)
    like = Checkpoint(state, source.statistics(data), no_skips(), data if session.own_data else None)
    start = Start(like, metrics_rows=None, evaluated=False)
    if step:
      fixed = not session.own_data
      start = restore(each, step, like, fixed_statistics=fixed, continue_changed=session.continue_changed)
    starts.append(start)
  checkpoints = [start.checkpoint for start in starts]
  size = sum(leaf.size for leaf in jax.tree.leaves(checkpoints[0].state.params))
  log(f"  {size:,} parameters on {jax.devices()[0].device_kind}")
  if step:
    log(f"continuing from the checkpoint of update {step}")
  population = make_population(
    [each.member.hyperparameters for each in session.members],
    [checkpoint.state for checkpoint in checkpoints],
    [checkpoint.skips for checkpoint in checkpoints],
  )
  data = stack([checkpoint.data for checkpoint in checkpoints]) if session.own_data else shared
  return Moment(population, data), step, starts


def statistics_of(session: Session, moment: Moment, index: int) -> Statistics:
  """The scales by which a member sees observations and rewards."""
  return session.run.source.statistics(member(moment.data, index) if session.own_data else moment.data)


def read_latents(session: Session, moment: Moment, index: int, params: Params, key: Key) -> Reading | None:
  """How much of the training tasks a member's latents hold; None where the agent reads none."""
  if session.read_latents is None:
    return None
  return session.read_latents(params, member(moment.data, index) if session.own_data else moment.data, key)


def evaluate(session: Session, moment: Moment, step: int) -> list[Result]:
  """The results of each member at a step; they are logged."""
  results = []
  for index, each in enumerate(session.members):
    started = time.monotonic()
    hyperparameters, state = member((moment.population.hyperparameters, moment.population.state), index)
    statistics, key = statistics_of(session, moment, index), jax.random.fold_in(each.keys.evaluate, step)
    rows: list[Row] = []
    episode, reading = None, None
    if session.run.evaluate is not None:
      params = member_params(hyperparameters, state.params)
      rows, episode = session.run.evaluate(params, statistics, key)
      reading = read_latents(session, moment, index, params, each.keys.evaluate)
      found = summary(rows) + (f"; latents hold R^2 {reading.r_squared:.2f} of training tasks" if reading else "")
      whose = f" of {each.member.label}" if len(session.members) > 1 else ""
      seconds = time.monotonic() - started
      log(f"evaluation{whose} after {int(state.step)} updates, in {seconds:.1f} s: {found}")
      if reading and reading.is_nothing and state.step > 0:
        log(f"WARNING: {each.name}: {describe_nothing(reading)}")
    metrics = {LATENT_R2: reading.r_squared} if reading else {}
    results.append(Result(rows, episode, int(state.step), metrics))
  return results


def first_evaluation(
  session: Session, files: MemberFiles, moment: Moment, step: int, is_evaluated: bool
) -> list[Result]:
  """The evaluation before training: of the untrained agent, or where an earlier start was stopped in between."""
  is_finished = step >= session.run.schedule.steps
  if not devices.is_main_process() or (is_evaluated and not is_finished):
    return []
  if step == 0:
    log("evaluating the untrained agent (this compiles adaptation and episodes) ...")
  elif is_evaluated:
    log("the run is finished already; evaluating it again")
  else:
    log(f"evaluating update {step}, before which the run was stopped ...")
  results = evaluate(session, moment, step)
  if not is_evaluated:
    files.write_evaluation(step, results)
    if step > 0:
      save(session, files, moment, step, results)
  return results


def compile_program(session: Session, moment: Moment) -> tuple[PopulationChunk, Moment, Key]:
  """Compiles `steps_per_call` updates of all members; the moment and the keys `[M]` come back on the devices."""
  schedule, mesh, sample = session.run.schedule, session.mesh, session.run.source.sample
  log(f"compiling {schedule.steps_per_call} updates into one call ...")
  started = time.monotonic()
  population, keys = moment.population, stack([each.keys.train for each in session.members])
  if mesh is not None:
    sample = devices.shard_tasks(sample, mesh)
    population, keys = devices.put((population, keys), devices.by_member(mesh))
  data = place(session, moment.data)

  def compile_here(chunk: Chunk[State], state: State, data: Data, keys: Key) -> Chunk[State]:
    if isinstance(state, Attempt):
      log("not every number is finite; compiling the same updates with a test after each ...")
    if mesh is None:
      return compile_chunk(chunk, state, data, keys)
    return devices.compile_on_mesh(chunk, mesh, state, data, keys, own_data=session.own_data)

  chunk = compile_with_skips(
    session.run.make_algorithm,
    sample,
    schedule.steps_per_call,
    session.max_skips_in_a_row,
    compile_here,
    population,
    data,
    keys,
    own_data=session.own_data,
  )
  log(f"compiled in {time.monotonic() - started:.1f} s; training to update {schedule.steps}")
  return chunk, Moment(population, data), keys


def place(session: Session, data: Data) -> Data:
  """The data on the devices of the program."""
  if session.mesh is None:
    return jax.device_put(data)
  by_member = devices.by_member(session.mesh)
  return devices.put(data, by_member if session.own_data else devices.replicated(session.mesh))


def refresh(session: Session, moment: Moment) -> tuple[Data, list[dict[str, float]]]:
  """The data after the source has changed those of each member, and its metrics; the data before are gone."""
  change = session.run.source.refresh
  if change is None:
    return moment.data, [{} for _ in session.members]
  population, data = on_host(session, moment)
  changed: list[Any] = []
  for index, each in enumerate(session.members):
    hyperparameters, state = member((population.hyperparameters, population.state), index)
    params = member_params(hyperparameters, state.params)
    changed.append(change(params, jax.tree.map(jnp.asarray, member(data, index)), each.keys.source))
  return place(session, stack([new for new, _ in changed])), [metrics for _, metrics in changed]


def train_on(
  session: Session, files: MemberFiles, chunk: PopulationChunk, moment: Moment, keys: Key, step: int
) -> list[Result]:
  """Trains from update `step` to the end, and writes, evaluates and saves on the way.

  Raises:
    Interrupted: a signal came; all is saved that could be.
    TrainingError: no member is left that has not stopped.
  """
  schedule, interruption = session.run.schedule, session.interruption
  results: list[Result] | None = []
  have_stopped = np.zeros(len(session.members), bool)  # Those that had before are reported again.
  have_diverged, value_losses = have_stopped, value_losses_of(session)
  with interruption.holding():
    while step < schedule.steps:
      started = time.monotonic()
      data, collected = refresh(session, moment)
      population, metrics = chunk(moment.population, data, keys)
      moment = Moment(population, data)
      step += schedule.steps_per_call
      of_members = devices.fetch(metrics)
      of_members["steps_per_second"] = np.full(
        len(session.members), schedule.steps_per_call / (time.monotonic() - started)
      )
      rows = [member(of_members, index) | collected[index] for index in range(len(session.members))]
      diverging = [divergence(*each) for each in zip(rows, value_losses, strict=True)]
      files.write(step, with_divergence(rows, value_losses, diverging))
      have_diverged = report_divergence(session, step, diverging, have_diverged)
      fetched = cache(lambda moment=moment: on_host(session, moment))  # Once, where it is needed at all.
      have_stopped = report_stopped(session, moment, fetched, have_stopped)

      is_last = step >= schedule.steps
      results = []
      if is_last or step % schedule.evaluate_every == 0:
        results = evaluate_unless_interrupted(session, files, fetched(), step)
      received = devices.largest(interruption.received)
      # After the evaluation, so that what a checkpoint continues has all rows up to its step.
      if received or is_last or step % schedule.checkpoint_every == 0:
        save(session, files, fetched(), step, results)
      if received:
        devices.wait_for_all("saved")  # One that ends earlier may take the others with it.
        raise Interrupted(received)
  return results or []


def evaluate_unless_interrupted(session: Session, files: MemberFiles, moment: Moment, step: int) -> list[Result] | None:
  """The evaluation that is due, in the main process, which writes it; None if a signal ended it."""
  if not devices.is_main_process():
    return []
  try:
    with session.interruption.abandoning():
      results = evaluate(session, moment, step)
  except Interrupted:
    return None
  files.write_evaluation(step, results)
  return results


def save(session: Session, files: MemberFiles, moment: Moment, step: int, results: Sequence[Result] | None) -> None:
  """Saves all members, in the main process, as `moment` on the host has them.

  The results are those of this step: empty where none were due, None where a signal ended them.
  """
  if not devices.is_main_process():
    return
  count = len(session.members)
  files.save(
    step,
    moment.population,
    [member(moment.data, index) if session.own_data else None for index in range(count)],
    [statistics_of(session, moment, index) for index in range(count)],
    [training_score(result.rows) for result in results or ()] or [None] * count,
    is_evaluated=results is not None,
  )
  session.interruption.advice = f"the same command continues from update {newest_common_step(session.members)}"


def training_score(rows: Sequence[Row]) -> float | None:
  """The mean score on training tasks at the last stage of adaptation, or the mean return where there are no scores.

  Tasks without a score are left out where others have one. None without training tasks, or if a number is not finite.
  """
  train = [row for row in rows if row.split == "train"]
  scores = [row.scores[-1] for row in train if row.scores is not None]
  returns = [row.returns[-1] for row in train]
  return float(np.mean(scores or returns)) if train and np.isfinite([*scores, *returns]).all() else None


def value_losses_of(session: Session) -> list[dict[str, float]]:
  """`Algorithm.value_losses` of each member; none where the data change, whose returns outgrow those of the first."""
  if session.own_data:
    return [{} for _ in session.members]
  algorithms = [session.run.make_algorithm(**each.member.hyperparameters) for each in session.members]
  size = session.run.source.mean_square_return
  return [{name: size * float(square) for name, square in each.value_losses.items()} for each in algorithms]


def with_divergence(
  rows: Sequence[dict[str, float]], value_losses: Sequence[dict[str, float]], diverging: Sequence[Divergence | None]
) -> list[dict[str, float]]:
  """The metrics of each member, and where it has value losses, whether they are too large."""
  return [
    row | ({VALUES_DIVERGE: float(found is not None)} if losses else {})
    for row, losses, found in zip(rows, value_losses, diverging, strict=True)
  ]


def report_divergence(
  session: Session, step: int, diverging: Sequence[Divergence | None], have_diverged: np.ndarray
) -> np.ndarray:
  """Logs which members' values have begun to diverge; those that have so far, `[M]` bool, as `have_diverged`."""
  problem = session.run.agent.get("problem", {})
  for each, found, is_known in zip(session.members, diverging, have_diverged, strict=True):
    if found is not None and not is_known:
      log(f"WARNING: {each.name}, update {step}: {describe_divergence(found, problem)}")
  return have_diverged | np.array([found is not None for found in diverging], bool)


def report_stopped(
  session: Session, moment: Moment, fetched: Callable[[], Moment], have_stopped: np.ndarray
) -> np.ndarray:
  """Logs which members have not stayed finite, and why; those that stand still now, `[M]` bool.

  Args:
    session: of the run.
    moment: as the newest call has left it.
    fetched: gives the same on the host.
    have_stopped: those that stood still before, `[M]`.

  Raises:
    TrainingError: all do; or one does, and the run looks for such with `debug_nans`.
  """
  skips = devices.fetch(moment.population.skips)
  stopped = np.asarray(has_stopped(skips, session.max_skips_in_a_row))
  for index in map(int, np.flatnonzero(stopped & ~have_stopped)):
    population, data = fetched()
    report_stop(
      session.run,
      session.members[index],
      member(population, index),
      member(data, index) if session.own_data else data,
      name_operation=session.debug_nans,
    )
  if session.debug_nans and stopped.any():
    raise TrainingError("not every number was finite, and --debug_nans ends the run there; nothing was saved after it")
  if stopped.all():
    raise TrainingError(
      "no member is left that has finite numbers; smaller learning rates or step sizes may help. "
      f"{session.members[0].directory / METRICS} has the losses until then"
    )
  return stopped


def on_host(session: Session, moment: Moment) -> Moment:
  """The moment where one process can read it; all processes must ask for it."""
  if session.mesh is None:
    return moment
  data = devices.fetch(moment.data) if session.own_data else devices.own_copy(moment.data)
  return Moment(devices.fetch(moment.population), data)
