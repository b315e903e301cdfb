"""What a trained agent has read from its supports: the task, its rewards, or only who acted.

python -m experiments.probe runs/macaw-cheetah_vel-0 runs/focal-cheetah_vel-0
python -m experiments.probe runs/focal-point_robot-? --episodes=20 --seed=1

Of the newest checkpoint of each run, on its test tasks, and for supports of their own data, of other tasks' policies
where there are such data, and of a random policy:

- how well a linear map, fitted to supports of the training tasks, reads a task's parameters off what adaptation
  changed (`macaw_jax.evaluation.decoding`): R^2, and the mean distance to the true parameters beside that of chance;
- the same where every reward of the support is replaced by the mean reward of the training data. In a family whose
  tasks differ in rewards alone, an agent that is decoded as well as before has not read them;
- the scores after adaptation to the one and to the other.

Where the test tasks are training tasks, as in cheetah_dir, the map is fitted and tried on different supports. The
numbers go into `probe.json` in the run's directory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from experiments.command_line import launch_with_arguments, say
from experiments.configuration import ConfigurationError
from experiments.experiment import Split, make_algorithm, with_supports
from experiments.run_directory import write_json
from experiments.run_groups import find_runs
from experiments.trained_run import (
  EPISODES,
  SEED,
  TrainedRun,
  check_all,
  kinds_of_support,
  load_trained_run,
  with_own_support,
  with_support,
)
from experiments.validation import Examined
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.statistics import normalise_dataset
from macaw_jax.envs.family import Task
from macaw_jax.evaluation.constant_rewards import mean_reward, with_constant_rewards
from macaw_jax.evaluation.decoding import Decoder, fit_decoder, flatten_features, measure_decoding
from macaw_jax.evaluation.protocols import (
  PROTOCOLS,
  OfflineProtocol,
  Row,
  make_adapt,
  make_offline_protocol,
  mean_row,
  result_rows,
)
from macaw_jax.types import Algorithm, Key

PROBE = "probe.json"
# Supports that the decoder is fitted to, of all training tasks together, and the most of one.
FITTED_SUPPORTS, MOST_SUPPORTS = 256, 64
# In a row, what a value was measured on; the first has no ending.
TRUE, CONSTANT = "", "_constant_rewards"


def main(arguments: list[str]) -> None:
  """Probes the runs that the command line names, and prints a table."""
  directories = find_runs(arguments, "probe runs/macaw-*")
  for directory, config in check_all(directories, EPISODES.value, SEED.value, PROBE).items():
    check_training_tasks(directory, config)
  found = {directory: probe_run(directory, EPISODES.value, SEED.value) for directory in directories}
  say(f"\n{probe_table(found)}")


def probe_run(directory: Path, episodes: int | None, seed: int) -> list[Row]:
  """Probes the newest checkpoint of a run and writes `probe.json`; one row a kind of support.

  Args:
    directory: of the run.
    episodes: supports tried, and episodes run, in each test task; None for the episodes of the run.
    seed: decides supports and starts.

  Raises:
    ConfigurationError: no such run, no checkpoint, an argument outside its range, one training task only, or an agent
      whose adaptation is not finite.
  """
  config = with_own_support(directory, episodes)
  check_training_tasks(directory, config)
  supports = kinds_of_support(directory, config, of=[support for support in PROTOCOLS if support != "online"])
  run = load_trained_run(directory, config)
  say(f"{directory}: {config.algorithm.name} on {config.dataset.directory}, checkpoint of update {run.step}")
  algorithm = make_algorithm(config, run.experiment.problem)
  key_fit, key_try = jax.random.split(jax.random.key(seed))
  decoder = fit_to_training_tasks(directory, run, algorithm, key_fit)
  protocol = make_offline_protocol(
    algorithm,
    run.experiment.family,
    run.checkpoint.statistics,
    support_size=config.evaluation.support_size,
    num_episodes=config.evaluation.episodes,
    order=config.evaluation.order,
    engine=config.evaluation.engine,
  )
  rows = []
  for support in supports:
    say(f"  trying supports of {PROTOCOLS[support]} ...")
    rows.append(probe_support(run, algorithm, decoder, protocol, support, key_try))
  write_json(
    directory / PROBE,
    {"algorithm": config.algorithm.name, "step": run.step, "seed": config.seed, "evaluation_seed": seed, "rows": rows},
  )
  say(f"  written to {directory / PROBE}")
  return rows


def check_training_tasks(directory: Path, config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigurationError` if a run has but one training task."""
  if len(Examined(config).split.train) < 2:
    raise ConfigurationError(f"{directory}: a probe needs two training tasks or more to tell apart, the run has one")


def fit_to_training_tasks(directory: Path, run: TrainedRun, algorithm: Algorithm, key: Key) -> Decoder:
  """The decoder of the training tasks' parameters from supports of their own data.

  Raises:
    ConfigurationError: what adaptation changed is not finite, as of an agent that has diverged.
  """
  train, test = run.experiment.train, run.experiment.evaluated[0]
  num_tasks = len(train.indices)
  num_supports = min(max(FITTED_SUPPORTS // num_tasks, 2), MOST_SUPPORTS)
  say(f"  fitting to {num_supports} supports of each of {num_tasks} training tasks ...")
  features = features_of(run, algorithm, train.data, num_supports, key)
  parameters = np.repeat(parameter_matrix(train.tasks), num_supports, axis=0)
  # What is left out to choose the penalty is what will be new: the task, or where tasks are known the support alone.
  is_known = set(test.indices) <= set(train.indices)
  groups = np.arange(len(features)) if is_known else np.repeat(np.arange(num_tasks), num_supports)
  try:
    return fit_decoder(features, parameters, groups)
  except ValueError as error:
    raise ConfigurationError(f"{directory}: {error}") from error


def probe_support(
  run: TrainedRun, algorithm: Algorithm, decoder: Decoder, protocol: OfflineProtocol, support: str, key: Key
) -> Row:
  """The numbers of one kind of support, with true rewards and with constant ones."""
  experiment, config = run.experiment, run.config
  split = split_with(run, support)
  num_supports = config.evaluation.episodes
  parameters = np.repeat(parameter_matrix(split.tasks), num_supports, axis=0)
  constant = with_constant_rewards(
    split.data,
    mean_reward(experiment.train.data),
    experiment.manifest.discount,
    config.dataset.skip if support == "own" else 1,
  )
  row: Row = {"support": support, "protocol": PROTOCOLS[support], "supports": num_supports}
  for ending, data in ((TRUE, split.data), (CONSTANT, constant)):
    features = features_of(run, algorithm, data, num_supports, key)
    decoding = measure_decoding(decoder, features, parameters, parameter_matrix(experiment.train.tasks))
    normalised = normalise_dataset(run.checkpoint.statistics, data)
    evaluation = protocol(run.checkpoint.state.params, normalised, split.tasks, key)
    of_tasks = result_rows(
      evaluation, experiment.manifest, split.indices, "test", config.evaluation.support_size, PROTOCOLS[support]
    )
    means = mean_row(of_tasks)
    row |= {f"{name}{ending}": value for name, value in decoding._asdict().items() if name != "chance"}
    row |= {"chance": decoding.chance}
    row |= {f"{name}{ending}": means[f"{name}_after"] for name in ("return", "score")}
  return row


def split_with(run: TrainedRun, support: str) -> Split:
  """The test tasks with data of this kind."""
  return with_supports(run.experiment, with_support(run.config, support)).evaluated[0]


def features_of(run: TrainedRun, algorithm: Algorithm, data: Dataset, num_supports: int, key: Key) -> np.ndarray:
  """What adaptation changes on supports of each task, `[T * num_supports, F]`."""
  adapt = make_adapt(algorithm, run.config.evaluation.support_size, num_supports, run.config.evaluation.order)
  normalised = normalise_dataset(run.checkpoint.statistics, data)
  return flatten_features(adapt(run.checkpoint.state.params, normalised, key))


def parameter_matrix(tasks: Task) -> np.ndarray:
  """The numbers in which tasks differ, side by side: `[T, P]` float64."""
  return flatten_features(tasks)


def probe_table(found: Mapping[Path, Sequence[Mapping[str, Any]]]) -> str:
  """The rows of all runs in markdown, with what the columns mean below it."""
  lines = [
    "| run | support | R^2 | error | chance | R^2, constant | error, constant | score | score, constant |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  number = "{:.2f}".format
  for directory, rows in found.items():
    for row in rows:
      cells = [
        str(directory),
        row["support"].replace("_", " "),
        *(number(row[name]) for name in (f"r_squared{TRUE}", f"error{TRUE}", "chance")),
        *(number(row[f"{name}{CONSTANT}"]) for name in ("r_squared", "error")),
        *(f"{row[f'score{ending}']:.1f}" for ending in (TRUE, CONSTANT)),
      ]
      lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(
    [
      *lines,
      "",
      "The test tasks' parameters, read by a linear map off what adaptation changed: R^2 over tasks (1 is exact, 0 no "
      "better than their mean), the mean distance to the true parameters in their own units, and that of a training "
      "task drawn at random (chance). Constant: the same where every reward of a support is the training data's mean. "
      "Normalised scores after adaptation to either.",
    ]
  )


if __name__ == "__main__":
  launch_with_arguments(main)
