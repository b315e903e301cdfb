"""Meta-trains agents on a dataset and evaluates them.

python -m experiments.run --config=configs/macaw.py
python -m experiments.run --config=configs/macaw.py --config.seed=1 --config.training.steps=50000
python -m experiments.run --config=configs/macaw.py --config.population.seeds=3
python -m experiments.run --config=configs/macaw.py --config.population.grid="temperature=0.5,1;first_order=true,false"

The same command again continues a run that was stopped, from its newest checkpoint. The members of a population are
trained in one program; each has the directory, and the results, of the same run alone.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from os import devnull
from pathlib import Path

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from experiments import compare, report
from experiments.command_line import TrainingError, launch_with_config, say
from experiments.configuration import ConfigurationError, check_configuration
from experiments.experiment import Evaluator, Experiment, load_experiment, make_algorithm
from experiments.member_runs import (
  MemberRun,
  MemberWriters,
  first_step,
  newest_common_step,
  open_members,
  restore,
)
from experiments.population import Member, members_of
from experiments.program import compile_program, make_mesh
from experiments.run_directory import (
  CHECKPOINTS,
  CONFIG_FILE,
  LEARNING_CURVE,
  METRICS,
  RESULTS,
  ROLLOUT,
  STARTS,
  TENSORBOARD,
  read_json,
  write_json,
)
from macaw_jax.evaluation.protocols import Evaluation, Row
from macaw_jax.training import devices
from macaw_jax.training.checkpoints import Checkpoint
from macaw_jax.training.loop import train
from macaw_jax.training.metrics import ProgressLine, read_rows
from macaw_jax.training.population import (
  MakeAlgorithm,
  MemberParams,
  Population,
  initialise_member,
  make_population,
  member,
  with_hyperparameters,
)

FILES = {
  RESULTS: "final returns and scores, one row a task",
  METRICS: "losses and returns over time",
  LEARNING_CURVE: "the same as a picture",
  ROLLOUT: "an adapted episode on the first test task",
  TENSORBOARD: "for tensorboard --logdir",
  CHECKPOINTS: "parameters, to continue or evaluate",
  CONFIG_FILE: "the configuration",
  STARTS: "commands, versions and commit of each start",
}

Results = list[tuple[list[Row], Evaluation, int]]  # of each member: rows, episodes, updates that it has had
Evaluate = Callable[[Population, int], Results]


def run(config: ml_collections.ConfigDict) -> None:
  """Trains the members of a population, evaluates them now and then, and writes each into its own directory.

  Raises:
    ConfigurationError, DatasetError: the configuration or the data cannot be used; before anything is compiled.
    TrainingError: no member has finite numbers any more.
  """
  check_configuration(config)
  members = members_of(config)
  with ExitStack() as resources:
    if config.devices.distributed:
      connect_processes()
    if not devices.is_main_process():  # The first process speaks for all.
      resources.enter_context(redirect_stdout(resources.enter_context(open(devnull, "w"))))
    say(f"{config.algorithm.name} on {config.dataset.directory}, {describe_members(members)}")
    say("loading and checking the data ...")
    experiment = load_experiment(config)
    make = partial(make_algorithm, config, experiment.problem)
    for each in members:
      make(**each.hyperparameters)  # While its values are numbers: traced, they cannot be refused.
    mesh = make_mesh(config, experiment, len(members))
    describe_data(experiment, config)

    runs = open_members(members, resources)
    say(f"run directory: {', '.join(str(each.directory) for each in runs)}")
    try:
      results = train_and_evaluate(config, experiment, make, mesh, runs, resources)
    except KeyboardInterrupt:
      say(f"the same command continues from update {newest_common_step(runs)}")
      raise
    if devices.is_main_process():
      finish(config, experiment, runs, results)


def connect_processes() -> None:
  """Makes this process one of several. Raises `ConfigurationError` if nothing has started it as one."""
  try:
    devices.initialise_distributed()
  except ValueError as error:
    raise ConfigurationError(str(error)) from error


def describe_members(members: Sequence[Member]) -> str:
  """Who is trained, for people."""
  if len(members) == 1:
    return f"seed {members[0].config.seed}"
  return f"{len(members)} members ({'; '.join(each.label for each in members)})"


def describe_data(experiment: Experiment, config: ml_collections.ConfigDict) -> None:
  """Says what was loaded."""
  family, train_split, test_split = experiment.family, experiment.train, experiment.evaluated[0]
  sizes = train_split.data.size
  shared = ", the same tasks" if train_split.indices == test_split.indices else ""
  say(
    f"  {family.name}: {len(train_split.indices)} training tasks, {len(test_split.indices)} test tasks{shared}; "
    f"observations of {family.observation_size}, actions of {family.action_size}, episodes of {family.horizon} steps"
  )
  say(
    f"  training data: {int(np.sum(sizes))} transitions, {int(np.min(sizes))} to {int(np.max(sizes))} a task, quality "
    f"'{config.dataset.quality}'; returns are divided by {float(experiment.statistics.return_scale):.4g}"
  )


def first_population(
  config: ml_collections.ConfigDict, experiment: Experiment, make: MakeAlgorithm, runs: Sequence[MemberRun]
) -> tuple[Population, int]:
  """The members as their newest common checkpoint has them, or afresh; and its step.

  Raises:
    ConfigurationError: see `first_step` and `restore`.
  """
  step, states = first_step(runs, config.training.steps), []
  for each in runs:
    state = initialise_member(make, each.member.hyperparameters, each.keys.init)
    states.append(restore(each, step, state, experiment.statistics) if step else state)
  size = sum(leaf.size for leaf in jax.tree.leaves(states[0].params))
  say(f"  {size:,} parameters on {jax.devices()[0].device_kind}")
  if step:
    say(f"continuing from the checkpoint of update {step}")
  return make_population([each.member.hyperparameters for each in runs], states), step


def make_evaluate(
  config: ml_collections.ConfigDict, experiment: Experiment, make: MakeAlgorithm, runs: Sequence[MemberRun]
) -> Evaluate:
  """A function that evaluates each member of a population at a step and says what came out."""
  evaluator = Evaluator(experiment, with_hyperparameters(make), experiment.statistics, config.evaluation)

  def evaluate(population: Population, step: int) -> Results:
    results = []
    for index, each in enumerate(runs):
      started = time.monotonic()
      hyperparameters, state = member(population, index)
      params = MemberParams(hyperparameters, state.params)
      rows, evaluation = evaluator(params, jax.random.fold_in(each.keys.evaluate, step))
      whose = f" of {each.member.label}" if len(runs) > 1 else ""
      seconds = time.monotonic() - started
      say(f"evaluation{whose} after {int(state.step)} updates, in {seconds:.1f} s: {report.summary(rows)}")
      results.append((rows, evaluation, int(state.step)))
    return results

  return evaluate


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  make: MakeAlgorithm,
  mesh: Mesh | None,
  runs: Sequence[MemberRun],
  resources: ExitStack,
) -> Results:
  """Trains from the newest checkpoint to the end; returns the last evaluation, in the main process."""
  training, is_main_process = config.training, devices.is_main_process()
  population, step = first_population(config, experiment, make, runs)
  finite = np.asarray(population.step) == step  # A member that was not, stands where it was then.
  writers = MemberWriters(runs, step, ProgressLine(training.steps, say), resources)
  evaluate = make_evaluate(config, experiment, make, runs)
  if step >= training.steps:
    say("the run is finished already; evaluating it again")
    return evaluate(population, step) if is_main_process else []
  if step == 0 and is_main_process:
    say("evaluating the untrained agent (this compiles adaptation and episodes) ...")
    writers.write_evaluation(step, [rows for rows, *_ in evaluate(population, step)])

  say(f"compiling {training.log_every} updates into one call ...")
  started = time.monotonic()
  program = compile_program(config, experiment, make, mesh, population, [each.keys.train for each in runs])
  del population  # The program has it.
  say(f"compiled in {time.monotonic() - started:.1f} s; training to update {training.steps}")

  results: Results = []
  started = time.monotonic()
  for newest, metrics in train(program.chunk, program.population, program.data, program.keys, training.steps):
    of_members, previous, step = devices.fetch(metrics), step, step + training.log_every
    finite = _check_finite(of_members["finite"], finite, previous, step, runs)
    of_members["steps_per_second"] = np.full(len(runs), training.log_every / (time.monotonic() - started))
    is_evaluated = step % training.evaluate_every == 0 or step == training.steps
    is_saved = step % training.checkpoint_every == 0 or step == training.steps
    if mesh is not None and (is_evaluated or is_saved):
      newest = devices.fetch(newest)
    if is_main_process:
      writers.write(step, [{name: values[index] for name, values in of_members.items()} for index in range(len(runs))])
      if is_evaluated:
        results = evaluate(newest, step)
        writers.write_evaluation(step, [rows for rows, *_ in results])
      # After the evaluation, so that what a checkpoint continues has all rows up to its step.
      if is_saved:
        for index, each in enumerate(runs):
          each.checkpoints.save(step, Checkpoint(member(newest.state, index), experiment.statistics))
    started = time.monotonic()
  return results


def _check_finite(
  finite: np.ndarray, before: np.ndarray, previous: int, step: int, runs: Sequence[MemberRun]
) -> np.ndarray:
  """Says which members have stopped being finite. Raises `TrainingError` if none is left."""
  for stopped, each in zip(before & ~finite, runs, strict=True):
    if stopped:
      say(
        f"{each.member.label or 'this run'}: not every number is finite after updates {previous + 1} to {step}; it "
        f"stays as it was after update {previous}"
      )
  if not finite.any():
    raise TrainingError(
      f"no finite numbers after updates {previous + 1} to {step}; smaller learning rates or step sizes may help. "
      f"{runs[0].directory / METRICS} has the losses until then"
    )
  return finite


def finish(
  config: ml_collections.ConfigDict, experiment: Experiment, runs: Sequence[MemberRun], results: Results
) -> None:
  """Writes and shows the final results."""
  for each, (rows, evaluation, step) in zip(runs, results, strict=True):
    write_results(experiment, each, rows, step)
    if step < config.training.steps:
      say(f"{each.member.label or 'this run'} stands at update {step}: its numbers were not finite after it")
    draw(each.member.config, experiment, each.directory, evaluation)
  if len(runs) == 1:
    (each,), ((rows, *_),) = runs, results
    say(f"\n{report.results_table(rows)}\n")
    say(f"files in {each.directory}:")
    for name, content in FILES.items():
      if (each.directory / name).exists():
        say(f"  {name:<20} {content}")
  else:
    written = {each.directory: read_json(each.directory / RESULTS) for each in runs}
    say(f"\n{compare.comparison_table(compare.group_runs(written))}\n\n{compare.runs_table(written)}\n")
  say(f"evaluate again, also after other numbers of steps: python -m experiments.evaluate --run={runs[0].directory}")


def write_results(experiment: Experiment, each: MemberRun, rows: list[Row], step: int) -> None:
  """Writes the returns and scores of a member after its last update, number `step`."""
  config = each.member.config
  results = {
    "algorithm": config.algorithm.name,
    "family": experiment.family.name,
    "seed": config.seed,
    "step": step,
    "seconds": read_rows(each.directory / METRICS)[-1]["wall_time"],
    "mean": report.means_by_split(rows),
    "rows": rows,
    "config": config.to_dict(),
  }
  write_json(each.directory / RESULTS, results)


def draw(config: ml_collections.ConfigDict, experiment: Experiment, directory: Path, evaluation: Evaluation) -> None:
  """Draws the learning curve, and the first adapted episode on the first test task; says what cannot be drawn here."""
  title = f"{config.algorithm.name}, {experiment.family.name}, seed {config.seed}"
  try:
    report.plot_learning_curve(read_rows(directory / METRICS), directory / LEARNING_CURVE, title)
  except ImportError:
    say('no learning curve: matplotlib is not installed (pip install "macaw_jax[plot]")')
  states, task = jax.tree.map(lambda leaf: leaf[0], (evaluation.states, experiment.evaluated[0].tasks))
  report.draw_episode(experiment.family, states, directory / ROLLOUT, task=task)


if __name__ == "__main__":
  launch_with_config(run)
