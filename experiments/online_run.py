"""Meta-trains an agent that collects its own data; `experiments.run` comes here where the configuration collects.

python -m experiments.run --config=configs/pearl.py:point_robot

The same command again continues a run that was stopped or killed, bit for bit: a checkpoint holds the memories too.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from experiments import report
from experiments.command_line import TrainingError, say
from experiments.configuration import ConfigurationError
from experiments.interruption import Interrupted, Interruption
from experiments.member_runs import EVALUATED, METRICS_ROWS, Keys, MemberFiles, MemberRun, first_step
from experiments.online_configuration import validate_online
from experiments.online_experiment import (
  OnlineEvaluator,
  OnlineExperiment,
  make_online_experiment,
  require_same_memories,
)
from experiments.online_results import ENVIRONMENT_STEPS, evaluation_metrics, results_table, summary
from experiments.population import Member
from experiments.run_directory import (
  CHECKPOINTS,
  CONFIG_FILE,
  LEARNING_CURVE,
  METRICS,
  RESULTS,
  begin_or_continue,
  claim_directory,
  configuration_identity,
  directory_of,
  load_config,
  write_json,
)
from experiments.run_results import say_files
from macaw_jax.data.statistics import Statistics, no_scaling
from macaw_jax.evaluation.protocols import Row
from macaw_jax.sources.replay import OnlineState, collection_order, replays_for
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, OtherRun
from macaw_jax.training.loop import Chunk, compile_chunk, initialise, make_chunk
from macaw_jax.training.metrics import ProgressLine, read_rows
from macaw_jax.training.population import Population, no_skips
from macaw_jax.types import Key, TrainState


class OnlineKeys(NamedTuple):
  """The streams of randomness of a run."""

  init: Key
  train: Key  # batches and updates
  evaluate: Key
  begin: Key  # episodes before the first update
  collect: Key
  order: Key  # of tasks


class Session(NamedTuple):
  """What a run has, once everything is checked."""

  config: ml_collections.ConfigDict
  experiment: OnlineExperiment
  keys: OnlineKeys
  run: MemberRun
  interruption: Interruption


class Start(NamedTuple):
  """Where a run starts."""

  state: OnlineState
  statistics: Statistics
  step: int
  metrics_rows: int | None  # that belong to this state; None begins anew
  evaluated: bool


def run_online(
  config: ml_collections.ConfigDict, interruption: Interruption | None = None, *, continue_changed: bool = False
) -> None:
  """Collects, trains, evaluates now and then, and writes everything into the run's directory.

  Args:
    config: of the run.
    interruption: what listens for signals; without it, they do to the caller's process what they did before.
    continue_changed: whether a run goes on although its settings or its code have changed since it began.

  Raises:
    ConfigurationError: the configuration cannot be used; before anything is compiled.
    Interrupted: a signal came; all is saved that could be.
    TrainingError: a metric was not finite, or not all could be saved.
  """
  validate_online(config)
  interruption = interruption or Interruption()
  keys = OnlineKeys(*jax.random.split(jax.random.key(config.seed), len(OnlineKeys._fields)))
  experiment = make_online_experiment(config)
  with ExitStack() as resources:
    run = open_run(config, keys, resources, continue_changed=continue_changed)
    session = Session(config, experiment, keys, run, interruption)
    describe(session)
    try:
      rows, problems = train_and_evaluate(session, resources, continue_changed=continue_changed)
    except Interrupted:
      say(interruption.advice)
      raise
    try:
      finish(session, rows)
    except OSError as error:
      problems.append(f"the results could not be written: {error}; the same command writes them again")
    if problems:
      raise TrainingError(*problems)


def open_run(
  config: ml_collections.ConfigDict, keys: OnlineKeys, resources: ExitStack, *, continue_changed: bool
) -> MemberRun:
  """Makes or finds the run's directory; `resources` closes what is open in it.

  Raises:
    ConfigurationError: it belongs to another run, or to none, or its run is going on, or was to be shorter or longer.
  """
  directory = directory_of(config)
  claim_directory(directory, resources)
  if (directory / CONFIG_FILE).is_file():
    require_same_memories(load_config(directory), config)
  begin_or_continue(directory, config, continue_changed=continue_changed)
  random_numbers = {"random numbers": str(jax.random.key_data(keys.train).tolist())}
  checkpoints = Checkpoints(directory / CHECKPOINTS, configuration_identity(config) | random_numbers)
  of_member = Keys(keys.init, keys.train, keys.evaluate)
  return MemberRun(Member("", config, {}), directory, of_member, resources.enter_context(checkpoints))


def describe(session: Session) -> None:
  """Says what is going to be done."""
  config, family, settings = session.config, session.experiment.family, session.experiment.settings
  say(f"{config.algorithm.name} on {family.name}, which it collects from, seed {config.seed}")
  say(f"run directory: {session.run.directory}")
  say(
    f"  {len(family.train_tasks)} training tasks, {len(family.test_tasks)} test tasks; observations of "
    f"{family.observation_size}, actions of {family.action_size}, episodes of {family.horizon} steps"
  )
  episodes = settings.prior_episodes + settings.posterior_episodes + settings.extra_episodes
  say(
    f"  {settings.initial_episodes} episodes of each training task, then {settings.iterations} iterations: {episodes} "
    f"episodes of each of {settings.tasks_per_iteration} tasks, {config.training.updates_per_iteration} updates"
  )


def train_and_evaluate(
  session: Session, resources: ExitStack, *, continue_changed: bool
) -> tuple[list[Row], list[str]]:
  """Trains from the newest checkpoint to the end.

  Returns:
    The last evaluation, and what could not be written to the disk.
  """
  config, interruption = session.config, session.interruption
  num_steps = config.training.steps
  start = find_start(session, continue_changed=continue_changed)
  interruption.advice = f"the same command continues from update {start.step}"
  files = MemberFiles([session.run], [start.metrics_rows], start.step, ProgressLine(num_steps, say), resources)
  evaluator = OnlineEvaluator(session.experiment, start.statistics, config)
  rows: list[Row] = []
  if not start.evaluated or start.step == num_steps:
    rows = evaluate(session, evaluator, start.state, start.step)
  if not start.evaluated:
    files.write(start.step, [evaluation_metrics(rows)])
    save(session, files, start.state, start.statistics, rows, evaluated=True)
  if start.step < num_steps:
    rows = train_on(session, files, evaluator, start)
  return rows, files.problems()


def find_start(session: Session, *, continue_changed: bool) -> Start:
  """The run as its newest whole checkpoint has it; else its beginning, with the first episodes of all training tasks.

  Raises:
    ConfigurationError: its checkpoints cannot be used.
  """
  experiment, keys, run = session.experiment, session.keys, session.run
  train = initialise(experiment.algorithm, keys.init)
  step = first_step([run], session.config.training.steps)
  # The save of step 0 holds the first episodes.
  if run.checkpoints.newest_step() is not None:
    return restore(session, step, train, continue_changed=continue_changed)
  say("collecting the first episodes of all training tasks ...")
  started = time.monotonic()
  beginning = experiment.collector.begin(train.params, keys.begin)
  say(
    f"  {beginning.environment_steps} environment steps in {time.monotonic() - started:.1f} s; returns are divided by "
    f"{float(beginning.statistics.return_scale):.4g}"
  )
  state = OnlineState(train, beginning.replays, jnp.asarray(beginning.environment_steps, jnp.int32))
  return Start(state, beginning.statistics, 0, metrics_rows=None, evaluated=False)


def restore(session: Session, step: int, train: TrainState, *, continue_changed: bool) -> Start:
  """The run as its checkpoint of `step` has it; `train` has the structure of its state.

  Raises:
    ConfigurationError: the checkpoint has other shapes, or belongs to another run.
  """
  experiment, run = session.experiment, session.run
  replays = replays_for(experiment.family, experiment.settings)
  like = Checkpoint(
    OnlineState(train, replays, jnp.zeros((), jnp.int32)), no_scaling(experiment.family.observation_size), no_skips()
  )
  try:
    checkpoint, note = run.checkpoints.restore(like, step, may_differ=("config",) if continue_changed else ())
  except OtherRun as error:
    raise ConfigurationError(f"{error}; choose another --config.output_directory") from error
  except ValueError as error:
    raise ConfigurationError(f"{run.directory}: {' '.join(str(error).split())[:500]}") from error
  say(f"continuing from the checkpoint of update {step}")
  state = jax.tree.map(jnp.asarray, checkpoint.state)
  return Start(state, checkpoint.statistics, step, note.progress[METRICS_ROWS], note.progress[EVALUATED])


def train_on(session: Session, files: MemberFiles, evaluator: OnlineEvaluator, start: Start) -> list[Row]:
  """Collects and trains from a start to the end, and writes, evaluates and saves on the way.

  Raises:
    Interrupted: a signal came; all is saved that could be.
    TrainingError: a metric was not finite.
  """
  config, experiment, keys, interruption = session.config, session.experiment, session.keys, session.interruption
  training, per_iteration = config.training, config.training.updates_per_iteration
  state, statistics, step = start.state, start.statistics, start.step
  chunk = compile_updates(session, state)
  order = collection_order(keys.order, len(experiment.family.train_tasks), experiment.settings)
  rows: list[Row] | None = []
  with interruption.holding():
    for iteration in range(step // per_iteration, experiment.settings.iterations):
      started = time.monotonic()
      state, metrics = advance(session, chunk, state, statistics, order[iteration], iteration)
      step += per_iteration
      if not all(map(np.isfinite, metrics.values())):
        raise TrainingError(
          f"not every metric is finite after update {step} ({', '.join(_not_finite(metrics))}); smaller learning rates "
          f"may help. {session.run.directory / METRICS} has the losses until then"
        )
      files.write(step, [metrics | {"steps_per_second": per_iteration / (time.monotonic() - started)}])

      is_last, rows = step == training.steps, []
      if is_last or step % training.evaluate_every == 0:
        rows = evaluate_unless_interrupted(session, files, evaluator, state, step)
      if interruption.received or is_last or step % training.checkpoint_every == 0:
        save(session, files, state, statistics, rows or [], evaluated=rows is not None)
      if interruption.received:
        raise Interrupted(interruption.received)
  return rows or []


def compile_updates(session: Session, state: OnlineState) -> Chunk[TrainState]:
  """The compiled updates of an iteration."""
  per_iteration, experiment = session.config.training.updates_per_iteration, session.experiment
  say(f"compiling {per_iteration} updates into one call ...")
  started = time.monotonic()
  chunk = make_chunk(experiment.algorithm, experiment.sample, per_iteration)
  compiled = compile_chunk(chunk, state.train, state.replays, session.keys.train)
  say(f"compiled in {time.monotonic() - started:.1f} s; training to update {session.config.training.steps}")
  return compiled


def advance(
  session: Session,
  chunk: Chunk[TrainState],
  state: OnlineState,
  statistics: Statistics,
  tasks: np.ndarray,
  iteration: int,
) -> tuple[OnlineState, dict[str, float]]:
  """One iteration: collects for `tasks`, then updates. The state that goes in cannot be read afterwards."""
  collected = session.experiment.collector.collect(
    state.train.params, statistics, state.replays, tasks, jax.random.fold_in(session.keys.collect, iteration)
  )
  environment_steps = state.environment_steps + collected.environment_steps
  train, metrics = chunk(state.train, collected.replays, session.keys.train)
  values = {name: float(value) for name, value in jax.device_get(metrics).items()}
  values |= collected.metrics | {ENVIRONMENT_STEPS: float(environment_steps)}
  return OnlineState(train, collected.replays, environment_steps), values


def _not_finite(metrics: dict[str, float]) -> list[str]:
  return [name for name, value in metrics.items() if not np.isfinite(value)]


def evaluate(session: Session, evaluator: OnlineEvaluator, state: OnlineState, step: int) -> list[Row]:
  """The rows of an evaluation, and a line about them."""
  started = time.monotonic()
  rows = evaluator(state.train.params, jax.random.fold_in(session.keys.evaluate, step))
  for row in rows:
    row[ENVIRONMENT_STEPS] = int(state.environment_steps)
  seconds = time.monotonic() - started
  say(f"evaluation after {step} updates, in {seconds:.1f} s: {summary(rows)}")
  return rows


def evaluate_unless_interrupted(
  session: Session, files: MemberFiles, evaluator: OnlineEvaluator, state: OnlineState, step: int
) -> list[Row] | None:
  """The evaluation that is due, written; None if a signal ended it."""
  try:
    with session.interruption.abandoning():
      rows = evaluate(session, evaluator, state, step)
  except Interrupted:
    return None
  files.write(step, [evaluation_metrics(rows)])
  return rows


def save(
  session: Session,
  files: MemberFiles,
  state: OnlineState,
  statistics: Statistics,
  rows: Sequence[Row],
  *,
  evaluated: bool,
) -> None:
  """Saves the run, memories included; its score is the mean adapted return on the evaluated training tasks."""
  on_training_tasks = [row["return_after"] for row in rows if row["split"] == "train"]
  score = float(np.mean(on_training_tasks)) if on_training_tasks else None
  alone = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (state, no_skips()))
  files.save(step_of(state), Population({}, *alone), statistics, [score], is_evaluated=evaluated)
  newest = session.run.checkpoints.newest_step() or 0
  session.interruption.advice = f"the same command continues from update {newest}"


def step_of(state: OnlineState) -> int:
  """Updates that the agent has had."""
  return int(state.train.step)


def finish(session: Session, rows: list[Row]) -> None:
  """Writes and shows the final results."""
  config, directory, family = session.config, session.run.directory, session.experiment.family
  rows_of_metrics = read_rows(directory / METRICS)
  values = {
    "algorithm": config.algorithm.name,
    "family": family.name,
    "seed": config.seed,
    "step": config.training.steps,
    "seconds": max((row["wall_time"] for row in rows_of_metrics), default=None),
    "rows": rows,
    "config": config.to_dict(),
  }
  write_json(directory / RESULTS, values)
  title = f"{config.algorithm.name}, {family.name}, seed {config.seed}"
  try:
    report.plot_learning_curve(rows_of_metrics, directory / LEARNING_CURVE, title)
  except ImportError:
    say('no learning curve: matplotlib is not installed (pip install "macaw_jax[plot]")')
  say(f"\n{results_table(rows)}\n")
  say_files(directory, config)
