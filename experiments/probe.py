"""Measures whether a trained agent reads the task, its rewards, or only the behaviour policy from its supports.

python -m experiments.probe runs/macaw-cheetah_vel-0 runs/focal-cheetah_vel-0
python -m experiments.probe runs/focal-point_robot-? --episodes=20 --seed=1

The newest checkpoint of each run is tried on its test tasks, with supports of their own data, of other tasks' policies
where there are such data, and of a random policy:

- how well a linear map, fitted to supports of the training tasks, reads a task's parameters off what adaptation
  changed (`macaw_jax.evaluation.decoding`): R^2, and the mean distance to the true parameters beside that of chance;
- the same where every reward of the support is replaced by the mean reward of the training data. In a family whose
  tasks differ in rewards alone, an agent that is decoded as well as before has not read them;
- the same on the states and actions of another test task, with the rewards that this task pays for them, where the
  family recomputes rewards: an agent that reads rewards is then in this task, whoever acted;
- the same with noise on the rewards, of a tenth of their standard deviation and of one, and with one standard deviation
  added to all of them;
- the scores after adaptation to each.

Where the test tasks are training tasks, as in cheetah_dir, the map is fitted and tried on different supports. The
numbers go into the run's directory, `probe_update_<n>.json`; what is not as in the run itself is in the name too.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from macaw_jax.console import log
from macaw_jax.data.dataset import Dataset, dataset_of, read_episodes
from macaw_jax.data.manifest import read_manifest
from macaw_jax.data.relabel import relabel
from macaw_jax.data.statistics import normalise_dataset
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.changed_rewards import reward_moments, with_rewards
from macaw_jax.evaluation.decoding import Decoder, fit_decoder, flatten_features, measure_decoding
from macaw_jax.evaluation.evaluate import Split, offline
from macaw_jax.evaluation.evaluation_file import CHECKPOINT, DATA, MADE_OF, NAMES, UPDATE, evaluation_file, made_of_text
from macaw_jax.evaluation.protocols import PROTOCOLS, make_adapt
from macaw_jax.evaluation.scales import scale_sentence, scales_of, unscored_text
from macaw_jax.evaluation.tables import markdown_table
from macaw_jax.json_files import write_json
from macaw_jax.training.trained import find_checkpoint
from macaw_jax.types import Key

from .build import Trained, check_writable, rebuild, saved_config
from .command_line import Parser, add_evaluation, add_retrieval, add_runs, launch, make_parser, named_runs
from .evaluation_request import OFFLINE, retrieval_numbers
from .recorded import KIND, Examined, data_digests, evaluated_splits

Numbers = dict[str, Any]
"""Measurements with one kind of support, by name."""

PROBE = "probe"  # how the name of its file begins
# Supports that the decoder is fitted to, of all training tasks together, and the most of one.
FITTED_SUPPORTS, MOST_SUPPORTS = 256, 64
# Endings of the names of what was measured with other rewards, and on another task's states and actions.
CONSTANT, SHIFTED, EXCHANGED = "_constant_rewards", "_shifted_rewards", "_exchanged_behaviour"
NOISY = {"_slightly_noisy_rewards": 0.1, "_noisy_rewards": 1.0}  # standard deviations of the training data's rewards


class Probe(NamedTuple):
  """One probe of one run, checked before anything is computed."""

  directory: Path
  configs: Mapping[str, ml_collections.ConfigDict]  # of each kind of support that the run can have
  step: int  # of the checkpoint
  seed: int
  made_of: Mapping[str, Any]  # all that the result depends on
  file: Path

  @property
  def label(self) -> str:
    """The run, as a table calls it."""
    return f"{self.directory} + retrieval" if self.configs["own"].retrieval.enabled else str(self.directory)


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("probe", __doc__)
  add_runs(flags)
  add_retrieval(flags)
  add_evaluation(flags)
  return flags


def main(given: argparse.Namespace) -> None:
  """Probes the runs that the command line names, and prints a table."""
  directories = named_runs(given.runs, "probe runs/macaw-*")
  probes = [plan(directory, given.episodes, given.seed, each) for each in given.retrieval for directory in directories]
  found = {each.label: probe_run(each) for each in probes}
  log(f"\n{probe_table(found)}")


def plan(directory: Path, episodes: int | None, seed: int, retrieval: bool | None = None) -> Probe:
  """The probe of a run that is asked for, and the file where it goes; logs which kinds of support it cannot have.

  `episodes` is the number of supports and of episodes of each test task, and `retrieval` whether the agent adapts to
  retrieved rows; None for what the run has.

  Raises:
    ConfigurationError: as `probed_config`, or there is no checkpoint.
  """
  configs = {"own": probed_config(directory, episodes, retrieval=retrieval)}
  for support in OFFLINE[1:]:
    try:
      configs[support] = probed_config(directory, episodes, support, retrieval)
    except ConfigurationError as error:
      log(f"{directory}: without the protocol {PROTOCOLS[support]}: {'; '.join(error.problems)}")
  step, digest = find_checkpoint(directory)
  evaluation = configs["own"].evaluation
  made_of = {
    UPDATE: step,
    **{name: evaluation[name] for name in ("support_size", "order", "episodes", "engine")},
    "retrieval": retrieval_numbers(configs["own"]),
    "seed": seed,
    NAMES: [PROTOCOLS[support] for support in configs],
    CHECKPOINT: digest,
    DATA: data_digests(configs["own"].dataset.directory, configs),
  }
  of_run = saved_config(directory)
  usual = {"episodes": of_run.evaluation.episodes, "retrieval": retrieval_numbers(of_run), "seed": 0}
  file = evaluation_file(directory, PROBE, made_of, usual)
  check_writable(file)
  return Probe(directory, configs, step, seed, made_of, file)


def probed_config(
  directory: Path, episodes: int | None, support: str = "own", retrieval: bool | None = None
) -> ml_collections.ConfigDict:
  """The configuration of a run on recorded data, with one kind of support; as the run has it where it is None.

  Raises:
    ConfigurationError: it is another run, its configuration is wrong with that support, or it has one training task.
  """
  changes = {
    "evaluation.support": support,
    "evaluation.train_tasks": 0,
    "evaluation.episodes": episodes,
    "retrieval.enabled": retrieval,
  }
  config = saved_config(directory, changes)
  if "dataset" not in config:
    raise ConfigurationError(f"{directory}: expected a run on recorded data, whose supports are compared")
  if len(Examined(config).split.train) < 2:
    raise ConfigurationError(f"{directory}: a probe needs two training tasks or more to tell apart, the run has one")
  return config


def probe_run(planned: Probe) -> list[Numbers]:
  """Probes a checkpoint of a run and writes the file; one row a kind of support.

  Raises:
    ConfigurationError: as `rebuild`, or adaptation is not finite.
  """
  config = planned.configs["own"]
  log(f"{planned.directory}: {made_of_text(planned.made_of)}")
  trained = rebuild(planned.directory, config, str(planned.step))
  key_fit, key_try = jax.random.split(jax.random.key(planned.seed))
  decoder = fit_to_training_tasks(trained, key_fit)
  rows = []
  for support, of_support in planned.configs.items():
    log(f"  trying supports of {PROTOCOLS[support]} ...")
    split = evaluated_splits(KIND.examine(of_support), trained.parts.train)[0]
    rows.append(probe_support(trained, decoder, split, support, key_try))
  document = {"algorithm": config.algorithm.name, "seed": config.seed, MADE_OF: planned.made_of, "rows": rows}
  write_json(planned.file, document)
  log(f"  written to {planned.file}")
  return rows


def fit_to_training_tasks(trained: Trained, key: Key) -> Decoder:
  """The decoder of the training tasks' parameters from supports of their own data.

  Raises `ConfigurationError` where adaptation is not finite, as of an agent that has diverged.
  """
  train, test = trained.parts.train, trained.parts.splits[0]
  assert train is not None
  assert train.data is not None
  num_tasks = len(train.indices)
  num_supports = min(max(FITTED_SUPPORTS // num_tasks, 2), MOST_SUPPORTS)
  log(f"  fitting to {num_supports} supports of each of {num_tasks} training tasks ...")
  features = features_of(trained, train.data, num_supports, key)
  parameters = np.repeat(flatten_features(train.tasks), num_supports, axis=0)
  # The penalty is chosen on held-out tasks, as test tasks are new, or on held-out supports where they are not.
  is_known = set(test.indices) <= set(train.indices)
  groups = np.arange(len(features)) if is_known else np.repeat(np.arange(num_tasks), num_supports)
  try:
    return fit_decoder(features, parameters, groups)
  except ValueError as error:
    raise ConfigurationError(f"{trained.directory}: {error}") from error


def probe_support(trained: Trained, decoder: Decoder, split: Split, support: str, key: Key) -> Numbers:
  """The numbers of one kind of support, with true rewards and with others."""
  config = trained.config
  train = trained.parts.train
  assert train is not None
  evaluation, num_supports = config.evaluation, config.evaluation.episodes
  parameters = np.repeat(flatten_features(split.tasks), num_supports, axis=0)
  row: Numbers = {"support": support, "protocol": PROTOCOLS[support], "supports": num_supports}
  tried = changed_data(trained, split, config.dataset.skip if support == "own" else 1, key)
  if support == "own" and (exchanged := exchanged_behaviour(trained, split)) is not None:
    tried[EXCHANGED] = exchanged
  for ending, data in tried.items():
    features = features_of(trained, data, num_supports, key)
    decoding = measure_decoding(decoder, features, parameters, flatten_features(train.tasks))
    evaluate = offline(
      trained.algorithm,
      trained.parts.family,
      [split._replace(data=data)],
      support=support,
      support_size=evaluation.support_size,
      episodes=num_supports,
      order=evaluation.order,
      engine=evaluation.engine,
    )
    rows = evaluate(trained.params, trained.statistics, key).rows
    row |= {f"{name}{ending}": value for name, value in decoding._asdict().items() if name != "chance"}
    row |= {"chance": decoding.chance, f"return{ending}": float(np.mean([each.returns[-1] for each in rows]))}
    scores = [each.scores[-1] for each in rows if each.scores is not None]
    row |= {f"score{ending}": float(np.mean(scores))} if scores else {}
  return row | {"scale": "; ".join(filter(None, [*scales_of(rows), unscored_text(rows)]))}


def changed_data(trained: Trained, split: Split, skip: int, key: Key) -> dict[str, Dataset]:
  """The data of a split by an ending of names: as they are, and with constant, shifted and noisy rewards."""
  train, data = trained.parts.train, split.data
  assert train is not None
  assert train.data is not None
  assert data is not None
  mean, std = reward_moments(train.data)
  noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), data.reward.shape))
  rewards = {CONSTANT: mean, SHIFTED: data.reward + std}
  rewards |= {ending: data.reward + scale * std * noise for ending, scale in NOISY.items()}
  discount = trained.parts.problem.discount
  return {"": data} | {ending: with_rewards(data, reward, discount, skip) for ending, reward in rewards.items()}


def exchanged_behaviour(trained: Trained, split: Split) -> Dataset | None:
  """The episodes of the test task before each, with the rewards of this one; None where they cannot be recomputed."""
  family, directory = trained.parts.family, trained.config.dataset.directory
  if family.differ_in != "rewards" or family.state_of is None or len(split.indices) < 2:
    return None
  manifest = read_manifest(directory)
  relabelled = (
    relabel(read_episodes(directory, manifest, before), family, jax.tree.map(lambda leaf, t=task: leaf[t], split.tasks))
    for task, before in enumerate(np.roll(split.indices, 1))
  )
  return dataset_of(relabelled, manifest.discount)


def features_of(trained: Trained, data: Dataset, num_supports: int, key: Key) -> np.ndarray:
  """The numbers that adaptation changes on supports of each task, `[T * num_supports, F]`."""
  evaluation = trained.config.evaluation
  adapt = make_adapt(trained.algorithm, evaluation.support_size, num_supports, evaluation.order)
  return flatten_features(adapt(trained.params, normalise_dataset(trained.statistics, data), key))


def probe_table(found: Mapping[str, Sequence[Numbers]]) -> str:
  """The rows of all runs in markdown, with what the columns mean below it."""
  columns = {
    "R^2": ("r_squared", ".2f"),
    "error": ("error", ".2f"),
    "chance": ("chance", ".2f"),
    "R^2, constant": (f"r_squared{CONSTANT}", ".2f"),
    "error, constant": (f"error{CONSTANT}", ".2f"),
    "R^2, exchanged": (f"r_squared{EXCHANGED}", ".2f"),
    "score": ("score", ".1f"),
    "constant": (f"score{CONSTANT}", ".1f"),
    "exchanged": (f"score{EXCHANGED}", ".1f"),
    **{f"noise {scale:g}": (f"score{ending}", ".1f") for ending, scale in NOISY.items()},
    "shifted": (f"score{SHIFTED}", ".1f"),
  }
  rows = [
    [
      label,
      row["support"].replace("_", " "),
      *(f"{row[name]:{form}}" if name in row else "-" for name, form in columns.values()),
    ]
    for label, of_run in found.items()
    for row in of_run
  ]
  scales = {label: list(dict.fromkeys(row["scale"] for row in of_run)) for label, of_run in found.items()}
  return (
    f"{markdown_table(['run', 'support', *columns], rows)}\n\n"
    "The test tasks' parameters, read by a linear map off what adaptation changed: R^2 over tasks (1 is exact, 0 no "
    "better than their mean), the mean distance to the true parameters in their own units, and that of a training "
    "task drawn at random (chance). Constant: the same where every reward of a support is the training data's mean. "
    "Exchanged: the same on the states and actions of another test task, with the rewards that this one pays for them. "
    "Normalised scores after adaptation to each, then with noise of so many standard deviations on the rewards, and "
    f"with one standard deviation added to all. {scale_sentence(scales)}"
  )


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
