"""From a configuration to the parts of an experiment; shared by training and evaluation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from experiments.configuration import ConfigurationError, hyperparameters, other_policies_directory
from macaw_jax import envs
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.dataset import Dataset, load_dataset
from macaw_jax.data.manifest import DatasetError, Manifest, read_manifest
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.data.statistics import Statistics, fit_statistics, normalise_dataset
from macaw_jax.envs.family import Task, TaskFamily, TaskSplit
from macaw_jax.evaluation import online, protocols
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.training.loop import Sample
from macaw_jax.types import Algorithm, Key, Params, Problem

# Of tasks in which the agent collects what it adapts to: nothing reads it.
NO_DATA = Dataset(*(np.zeros(0) for _ in Dataset._fields))


class Split(NamedTuple):
  """Some tasks of a dataset, as recorded: nothing scaled."""

  name: str  # "train" or "test"
  indices: tuple[int, ...]  # in the manifest
  data: Dataset  # [T, N, ...] on the host
  tasks: Task  # the family's tasks [T, ...]


class Experiment(NamedTuple):
  """Data, and the family that they belong to."""

  family: TaskFamily
  manifest: Manifest
  train: Split
  evaluated: tuple[Split, ...]  # the test tasks, then training tasks if wanted, with the data that adaptation sees
  statistics: Statistics  # of the training tasks' data

  @property
  def problem(self) -> Problem:
    """What an algorithm must know of the data."""
    manifest = self.manifest
    return Problem(manifest.observation_size, manifest.action_size, len(self.train.indices), manifest.discount)

  @property
  def train_tasks(self) -> tuple[int, ...]:
    """Indices of the training tasks in the manifest."""
    return self.train.indices

  @property
  def test_tasks(self) -> Task:
    """The family's tasks that are tested on, `[T, ...]`."""
    return self.evaluated[0].tasks

  def training_data(self) -> Dataset:
    """The data of the training tasks, scaled."""
    return normalise_dataset(self.statistics, self.train.data)

  def tasks_of_update(self, config: ml_collections.ConfigDict) -> int:
    """As the function of this name."""
    return tasks_of_update(config, self.problem)

  def make_sample(self, config: ml_collections.ConfigDict) -> Sample:
    """As the function of this name."""
    return make_sample(config, self.problem)

  def make_algorithm(self, config: ml_collections.ConfigDict, **changes: Any) -> Algorithm:
    """As the function of this name."""
    return make_algorithm(config, self.problem, **changes)

  def make_evaluate(self, config: ml_collections.ConfigDict, algorithm: Algorithm) -> "Evaluator":
    """The configured protocol on all evaluated splits."""
    return Evaluator(self, algorithm, self.statistics, config.evaluation, inner_steps=inner_steps_of(config))

  def describe(self, config: ml_collections.ConfigDict) -> list[str]:
    """What was loaded."""
    family, sizes, test_split = self.family, self.train.data.size, self.evaluated[0]
    shared = ", the same tasks" if self.train.indices == test_split.indices else ""
    return [
      f"{family.name}: {len(self.train.indices)} training tasks, {len(test_split.indices)} test tasks{shared}; "
      f"observations of {family.observation_size}, actions of {family.action_size}, episodes of {family.horizon} steps",
      f"training data: {int(np.sum(sizes))} transitions, {int(np.min(sizes))} to {int(np.max(sizes))} a task, quality "
      f"'{config.dataset.quality}'; returns are divided by {float(self.statistics.return_scale):.4g}",
    ]


def load_experiment(config: ml_collections.ConfigDict) -> Experiment:
  """Loads the data and checks that they, the family and the configuration fit.

  Raises:
    DatasetError: the files are not as they should be.
    ConfigurationError: the data do not fit the family or the configuration.
  """
  manifest = read_manifest(config.dataset.directory)
  family = family_of(manifest, config.dataset.directory)
  split = task_split(config, manifest, family)
  check_train_tasks(config, split)
  train = _load_split(config, manifest, family, "train", split.train)
  check_batches(config, dict(zip(train.indices, train.data.size, strict=True)))
  evaluated = _evaluated(config, manifest, family, split, train)
  if config.evaluation.support in protocols.RECORDED:
    check_support(config.evaluation.support_size, *evaluated)
  return Experiment(family, manifest, train, evaluated, fit_statistics(train.data))


def check_train_tasks(config: ml_collections.ConfigDict, split: TaskSplit) -> None:
  """Raises `ConfigurationError` if evaluation wants more training tasks than there are."""
  if config.evaluation.train_tasks > len(split.train):
    raise ConfigurationError(
      f"config.evaluation.train_tasks = {config.evaluation.train_tasks}: the dataset has {len(split.train)} "
      "training tasks"
    )


def check_batches(config: ml_collections.ConfigDict, sizes: Mapping[int, int]) -> None:
  """Raises `ConfigurationError` unless every training task has transitions for a disjoint support and query.

  Args:
    config: of the run.
    sizes: transitions of each training task, by its index in the manifest.
  """
  support, query = config.training.support_size, config.training.query_size
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < support + query:
    raise ConfigurationError(
      f"config.training.support_size = {support} and config.training.query_size = {query} take {support + query} "
      f"transitions of a task: task {smallest} has {sizes[smallest]}"
    )


def check_support(support_size: int, *splits: Split) -> None:
  """Raises `ConfigurationError` unless every task has `support_size` transitions."""
  for split in splits:
    check_supports(support_size, split.name, dict(zip(split.indices, split.data.size, strict=True)))


def check_supports(support_size: int, name: str, sizes: Mapping[int, int]) -> None:
  """Raises `ConfigurationError` unless every task has `support_size` transitions.

  Args:
    support_size: transitions that adaptation takes.
    name: of the split.
    sizes: transitions of each of its tasks, by its index in the manifest.
  """
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < support_size:
    raise ConfigurationError(
      f"an evaluation support of {support_size} transitions: task {smallest} ({name}) has {sizes[smallest]}"
    )


def check_own_episodes(horizon: int, inner_steps: int) -> None:
  """Raises `ConfigurationError` unless one episode of the agent's own is enough for all inner steps."""
  if inner_steps > horizon:
    raise ConfigurationError(
      f"an online support: an episode has {horizon} steps, fewer than the {inner_steps} inner steps that share it"
    )


def make_algorithm(config: ml_collections.ConfigDict, problem: Problem, **changes: Any) -> Algorithm:
  """The configured algorithm, with some hyper-parameters changed.

  Raises:
    ConfigurationError: the algorithm does not take these hyper-parameters.
  """
  try:
    return ALGORITHMS[config.algorithm.name](problem, **(hyperparameters(config) | changes))
  except (TypeError, ValueError) as error:
    raise ConfigurationError(f"config.algorithm ({config.algorithm.name}): {error}") from error


def tasks_of_update(config: ml_collections.ConfigDict, problem: Problem) -> int:
  """Tasks of one update: `config.training.tasks_per_update`, all where there are fewer."""
  return min(config.training.tasks_per_update, problem.num_tasks)


def make_sample(config: ml_collections.ConfigDict, problem: Problem) -> Sample:
  """The sampler of training."""
  return partial(
    sample_tasks,
    num_tasks=tasks_of_update(config, problem),
    support_size=config.training.support_size,
    query_size=config.training.query_size,
    order=config.training.order,
  )


def inner_steps_of(config: ml_collections.ConfigDict) -> int:
  """Inner steps that share a support; one where adaptation takes it as a whole."""
  return config.algorithm.get("inner_steps", 1)


class Evaluator:
  """The configured protocol on the evaluated splits of an experiment.

  Args:
    experiment: data and family; with the supports that `evaluation` names.
    algorithm: what adapts and acts.
    statistics: of the run.
    evaluation: the part of the configuration.
    splits: of the experiment's evaluated splits, how many; all of them if not given.
    inner_steps: of the algorithm, see `inner_steps_of`; they share a support equally, and `online` makes its own.
  """

  def __init__(
    self,
    experiment: Experiment,
    algorithm: Algorithm,
    statistics: Statistics,
    evaluation: ml_collections.ConfigDict,
    splits: int | None = None,
    inner_steps: int = 1,
  ):
    self._manifest = experiment.manifest
    self._protocol = protocols.PROTOCOLS[evaluation.support]
    self._splits = list(experiment.evaluated[:splits])
    if evaluation.support == "online":
      self._support_size = online.num_rows(experiment.family.horizon, online.NUM_EPISODES, inner_steps)
      self._evaluate = _online(experiment, algorithm, statistics, evaluation, inner_steps)
      return
    self._support_size = evaluation.support_size
    self._evaluate = _offline(experiment, algorithm, statistics, evaluation)
    self._splits = [split._replace(data=normalise_dataset(statistics, split.data)) for split in self._splits]

  def __call__(self, params: Params, key: Key) -> tuple[list[protocols.Row], protocols.Evaluation]:
    """The rows of all evaluated tasks, and the evaluation of the test tasks."""
    evaluations = [self._evaluate(params, split, key) for split in self._splits]
    rows: list[protocols.Row] = []
    for split, evaluation in zip(self._splits, evaluations, strict=True):
      rows += protocols.result_rows(
        evaluation, self._manifest, split.indices, split.name, self._support_size, self._protocol
      )
    return rows, evaluations[0]


def _offline(
  experiment: Experiment, algorithm: Algorithm, statistics: Statistics, evaluation: ml_collections.ConfigDict
) -> Callable[[Params, Split, Key], protocols.Evaluation]:
  """Evaluates on the data of a split, normalised."""
  protocol = protocols.make_offline_protocol(
    algorithm,
    experiment.family,
    statistics,
    support_size=evaluation.support_size,
    num_episodes=evaluation.episodes,
    order=evaluation.order,
    engine=evaluation.engine,
  )
  return lambda params, split, key: protocol(params, split.data, split.tasks, key)


def _online(
  experiment: Experiment,
  algorithm: Algorithm,
  statistics: Statistics,
  evaluation: ml_collections.ConfigDict,
  inner_steps: int,
) -> Callable[[Params, Split, Key], protocols.Evaluation]:
  """Evaluates on the tasks of a split, whatever its data."""
  protocol = online.make_online_protocol(
    algorithm,
    experiment.family,
    statistics,
    discount=experiment.manifest.discount,
    num_repetitions=evaluation.episodes,
    inner_steps=inner_steps,
    engine=evaluation.engine,
  )
  return lambda params, split, key: protocol(params, split.tasks, key)


def evenly_spaced(num_tasks: int, count: int) -> np.ndarray:
  """Positions of `count` of the tasks, from the first to the last: `[count]` int."""
  return np.linspace(0, num_tasks - 1, count).round().astype(int)


def _some_tasks(split: Split, count: int) -> Split:
  """`count` tasks of a split, evenly spaced."""
  chosen = evenly_spaced(len(split.indices), count)
  data = split.data._replace(**{name: values[chosen] for name, values in split.data._asdict().items()})
  tasks = {name: values[chosen] for name, values in split.tasks.items()}
  return split._replace(indices=tuple(split.indices[task] for task in chosen), data=data, tasks=tasks)


def family_of(manifest: Manifest, directory: str) -> TaskFamily:
  """The family that a dataset belongs to. Raises `ConfigurationError` if there is none, or it has other sizes."""
  try:
    family = envs.make(manifest.family)
  except ValueError as error:
    raise ConfigurationError(f"{directory}: {error}") from error
  problems = [
    f"{directory}: the dataset's {name} is {getattr(manifest, name)}, that of its family {family.name!r} is "
    f"{getattr(family, name)}"
    for name in ("observation_size", "action_size")
    if getattr(manifest, name) != getattr(family, name)
  ]
  if problems:
    raise ConfigurationError(*problems)
  return family


def task_split(config: ml_collections.ConfigDict, manifest: Manifest, family: TaskFamily) -> TaskSplit:
  """The tasks to train and to test on: as the manifest splits them, or as the family does for extrapolation.

  Raises:
    ConfigurationError: there are none, or the family or the dataset does not have that split.
    DatasetError: the tasks of the manifest are not tasks of the family.
  """
  if config.dataset.split == "in_distribution":
    split = TaskSplit(manifest.train_tasks, manifest.test_tasks)
    problems = [
      f"{config.dataset.directory}: its manifest names no {name} tasks"
      for name, indices in zip(("train", "test"), split, strict=True)
      if not indices
    ]
    if problems:
      raise ConfigurationError(*problems)
    try:
      protocols.tasks_of(manifest, family, split.train + split.test)
    except DatasetError as error:
      raise DatasetError(f"{config.dataset.directory}: {error}") from error
    return split
  if family.extrapolation is None:
    raise ConfigurationError(f"config.dataset.split = 'extrapolation': family {family.name!r} has no such split")
  wanted, available = 1 + max(family.extrapolation.train + family.extrapolation.test), len(manifest.tasks)
  if available < wanted:
    raise ConfigurationError(
      f"config.dataset.split = 'extrapolation': it splits {wanted} tasks, {config.dataset.directory} has {available}"
    )
  stated = protocols.tasks_of(manifest, family, range(wanted))
  for name, values in family.tasks.items():
    if not np.allclose(stated[name], values[:wanted], rtol=1e-5):
      raise ConfigurationError(
        f"config.dataset.split = 'extrapolation': the tasks of {config.dataset.directory} are not those of family "
        f"{family.name!r}: {name} differs"
      )
  return family.extrapolation


def _evaluated(
  config: ml_collections.ConfigDict, manifest: Manifest, family: TaskFamily, split: TaskSplit, train: Split
) -> tuple[Split, ...]:
  """The test tasks and the wanted training tasks, with the data that evaluation adapts to."""
  if config.evaluation.support != "own":
    chosen = evenly_spaced(len(split.train), config.evaluation.train_tasks)
    of_splits = {"test": split.test, "train": tuple(split.train[position] for position in chosen)}
    return tuple(
      _load_supports(config, manifest, family, name, indices) for name, indices in of_splits.items() if indices
    )
  # The two tasks of a family such as cheetah_dir are trained and tested on: one copy in memory.
  shared = split.test == split.train
  test = train._replace(name="test") if shared else _load_split(config, manifest, family, "test", split.test)
  return (test, _some_tasks(train, config.evaluation.train_tasks)) if config.evaluation.train_tasks else (test,)


def read_supports(config: ml_collections.ConfigDict, family: TaskFamily, indices: Sequence[int]) -> Manifest:
  """The manifest of the episodes that were acted for other tasks than these.

  Raises:
    DatasetError: there is none that can be read.
    ConfigurationError: it does not have these tasks of the family.
  """
  directory = other_policies_directory(config.dataset.directory)
  manifest = read_manifest(directory)
  if manifest.family != family.name or max(indices) >= len(manifest.tasks):
    raise ConfigurationError(
      f"{directory}: expected task {max(indices)} of family {family.name!r}, got {len(manifest.tasks)} tasks of "
      f"{manifest.family!r}"
    )
  return manifest


def _load_supports(
  config: ml_collections.ConfigDict, manifest: Manifest, family: TaskFamily, name: str, indices: Sequence[int]
) -> Split:
  """Tasks with other episodes than their own: all that were acted for others, random ones, or none to begin with."""
  evaluation = config.evaluation
  if evaluation.support == "other_policies":
    directory, of_others = other_policies_directory(config.dataset.directory), read_supports(config, family, indices)
    data, tasks = load_dataset(directory, tasks=indices), protocols.tasks_of(of_others, family, indices)
    return Split(name, tuple(indices), data, tasks)
  tasks, data = protocols.tasks_of(manifest, family, indices), NO_DATA
  if evaluation.support == "random":
    data = random_policy_dataset(
      family, tasks, discount=manifest.discount, support_size=evaluation.support_size, engine=evaluation.engine
    )
  return Split(name, tuple(indices), data, tasks)


def with_supports(experiment: Experiment, config: ml_collections.ConfigDict) -> Experiment:
  """The experiment with supports of the kind `config.evaluation.support` in place of the evaluated tasks' own data.

  Raises:
    DatasetError: there are no such data that can be read.
    ConfigurationError: they do not have these tasks of the family, or not enough transitions.
  """
  if config.evaluation.support == "own":
    return experiment
  evaluated = tuple(
    _load_supports(config, experiment.manifest, experiment.family, split.name, split.indices)
    for split in experiment.evaluated
  )
  if config.evaluation.support in protocols.RECORDED:
    check_support(config.evaluation.support_size, *evaluated)
  return experiment._replace(evaluated=evaluated)


def _load_split(
  config: ml_collections.ConfigDict, manifest: Manifest, family: TaskFamily, name: str, indices: Sequence[int]
) -> Split:
  dataset = config.dataset
  tasks = protocols.tasks_of(manifest, family, indices)
  data = load_dataset(
    dataset.directory,
    tasks=indices,
    quality=dataset.quality,
    transitions_per_task=dataset.transitions_per_task,
    skip=dataset.skip,
  )
  return Split(name, tuple(indices), data, tasks)
