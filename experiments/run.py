"""Meta-trains an agent on a dataset and evaluates it.

python -m experiments.run --config=configs/macaw.py
python -m experiments.run --config=configs/macaw.py --config.seed=1 --config.training.steps=50000

The same command again continues a run that was stopped, from its newest checkpoint.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from experiments import report
from experiments.command_line import launch_with_config, say
from experiments.configuration import ConfigurationError, check_configuration
from experiments.experiment import Evaluator, Experiment, load_experiment, make_algorithm, make_sample
from experiments.run_directory import (
  CHECKPOINTS,
  CONFIG_FILE,
  LEARNING_CURVE,
  METRICS,
  RESULTS,
  ROLLOUT,
  STARTS,
  TENSORBOARD,
  open_directory,
  record_start,
  write_json,
)
from macaw_jax.data.statistics import Statistics, normalise_dataset
from macaw_jax.evaluation.protocols import Evaluation, Row
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk, train
from macaw_jax.training.metrics import JsonLinesWriter, ProgressLine, TensorBoardWriter, WriterGroup, read_rows
from macaw_jax.types import Algorithm, Key, TrainState

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


Evaluate = Callable[[TrainState], tuple[list[Row], Evaluation]]


class Keys(NamedTuple):
  """The streams of randomness of a run."""

  init: Key
  train: Key  # data and updates
  evaluate: Key  # supports and starts


def run(config: ml_collections.ConfigDict) -> None:
  """One run: trains, evaluates now and then, and writes everything into the run's directory.

  Raises:
    ConfigurationError, DatasetError: the configuration or the data cannot be used; before anything is compiled.
  """
  check_configuration(config)
  say(f"{config.algorithm.name} on {config.dataset.directory}, seed {config.seed}")
  say("loading and checking the data ...")
  experiment = load_experiment(config)
  algorithm = make_algorithm(config, experiment.problem)
  describe_data(experiment, config)
  directory = open_directory(config)
  say(f"run directory: {directory}")

  keys = Keys(*jax.random.split(jax.random.key(config.seed), len(Keys._fields)))
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    state = first_state(algorithm, keys.init, experiment.statistics, checkpoints, config.training.steps)
    record_start(directory, config)
    first_step = int(state.step)
    with WriterGroup(
      JsonLinesWriter(directory / METRICS, first_step),
      TensorBoardWriter(directory / TENSORBOARD, first_step),
      ProgressLine(config.training.steps, say),
    ) as writer:
      evaluate = make_evaluate(config, experiment, algorithm, keys.evaluate)
      try:
        rows, evaluation = train_and_evaluate(config, experiment, algorithm, state, keys, evaluate, writer, checkpoints)
      except KeyboardInterrupt:
        say(f"the same command continues from update {checkpoints.newest_step() or 0}")
        raise
  finish(config, experiment, directory, rows, evaluation)


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


def first_state(
  algorithm: Algorithm, key: Key, statistics: Statistics, checkpoints: Checkpoints, num_steps: int
) -> TrainState:
  """The newest checkpoint's state, or a fresh one.

  Raises:
    ConfigurationError: the data are not those that the run began with, or it has gone beyond `num_steps`.
  """
  state = initialise(algorithm, key)
  size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  say(f"  {size:,} parameters on {jax.devices()[0].device_kind}")
  newest_step = checkpoints.newest_step()
  if newest_step is None:
    return state
  if newest_step > num_steps:
    raise ConfigurationError(f"config.training.steps = {num_steps}: this run has had {newest_step} updates already")
  checkpoint = checkpoints.restore(Checkpoint(state, statistics))
  if not all(np.array_equal(*pair) for pair in zip(checkpoint.statistics, statistics, strict=True)):
    raise ConfigurationError("config.dataset: the data have changed since this run began; choose another directory")
  say(f"continuing from the checkpoint of update {newest_step}")
  return checkpoint.state


def make_evaluate(
  config: ml_collections.ConfigDict, experiment: Experiment, algorithm: Algorithm, key: Key
) -> Evaluate:
  """A function that evaluates a state and says what came out."""
  evaluator = Evaluator(experiment, algorithm, experiment.statistics, config.evaluation)

  def evaluate(state: TrainState) -> tuple[list[Row], Evaluation]:
    step, started = int(state.step), time.monotonic()
    rows, evaluation = evaluator(state.params, jax.random.fold_in(key, step))
    say(f"evaluation after {step} updates, in {time.monotonic() - started:.1f} s: {report.summary(rows)}")
    return rows, evaluation

  return evaluate


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  algorithm: Algorithm,
  state: TrainState,
  keys: Keys,
  evaluate: Evaluate,
  writer: WriterGroup,
  checkpoints: Checkpoints,
) -> tuple[list[Row], Evaluation]:
  """Trains to the end; returns the last evaluation."""
  training, step = config.training, int(state.step)
  if step >= training.steps:
    say("the run is finished already; evaluating it again")
    return evaluate(state)
  if step == 0:
    say("evaluating the untrained agent (this compiles adaptation and episodes) ...")
    rows, _ = evaluate(state)
    writer.write(step, report.evaluation_metrics(rows))

  say(f"compiling {training.log_every} updates into one call ...")
  started = time.monotonic()
  data = jax.device_put(normalise_dataset(experiment.statistics, experiment.train.data))
  sample = make_sample(config, experiment.problem)
  chunk = compile_chunk(make_chunk(algorithm, sample, training.log_every), state, data, keys.train)
  say(f"compiled in {time.monotonic() - started:.1f} s; training to update {training.steps}")

  started = time.monotonic()
  for newest, means in train(chunk, state, data, keys.train, training.steps):
    step, metrics = int(newest.step), {name: float(value) for name, value in jax.device_get(means).items()}
    writer.write(step, metrics | {"steps_per_second": training.log_every / (time.monotonic() - started)})
    if step % training.evaluate_every == 0 or step == training.steps:
      rows, evaluation = evaluate(newest)
      writer.write(step, report.evaluation_metrics(rows))
    # After the evaluation, so that what a checkpoint continues has all rows up to its step.
    if step % training.checkpoint_every == 0 or step == training.steps:
      checkpoints.save(Checkpoint(newest, experiment.statistics))
    started = time.monotonic()
  return rows, evaluation


def finish(
  config: ml_collections.ConfigDict, experiment: Experiment, directory: Path, rows: list[Row], evaluation: Evaluation
) -> None:
  """Writes and shows the final results."""
  metrics = read_rows(directory / METRICS)
  results = {
    "algorithm": config.algorithm.name,
    "family": experiment.family.name,
    "seed": config.seed,
    "step": config.training.steps,
    "seconds": metrics[-1]["wall_time"],
    "mean": report.means_by_split(rows),
    "rows": rows,
    "config": config.to_dict(),
  }
  write_json(directory / RESULTS, results)
  say(f"\n{report.results_table(rows)}\n")

  draw(config, experiment, directory, evaluation)
  say(f"files in {directory}:")
  for name, content in FILES.items():
    if (directory / name).exists():
      say(f"  {name:<20} {content}")
  say(f"evaluate again, also after other numbers of steps: python -m experiments.evaluate --run={directory}")


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
