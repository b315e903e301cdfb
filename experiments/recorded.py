"""Runs on recorded data: the rules for their configurations, and the parts that they are made into."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from macaw_jax import envs
from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.data.dataset import Dataset, dataset_of, examine_files, load_dataset, read_episodes
from macaw_jax.data.manifest import (
  MANIFEST_FILE,
  DatasetError,
  Manifest,
  content_digest,
  examine_manifest,
  read_manifest,
)
from macaw_jax.data.references import scale_text
from macaw_jax.data.relabel import OTHER_POLICIES, beside_others, other_policies_directory, tasks_to_relabel
from macaw_jax.data.statistics import Statistics, no_scaling, normalise_dataset
from macaw_jax.data.tasks import problem_of, show_tasks, tasks_of
from macaw_jax.envs.family import TaskFamily, TaskSplit
from macaw_jax.envs.variants import NUMBERS, VARIANTS
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluate import Evaluate, Split, fine_tuning, offline, online, recorded_split
from macaw_jax.evaluation.protocols import RECORDED
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.retrieval import RetrievalSettings, fit_reference
from macaw_jax.sources.recorded import recorded
from macaw_jax.training.run_directory import DATASET, SUPPORT
from macaw_jax.types import Algorithm, Problem, TaskBatch, Transition, no_prior

from .configuration import ADDED_TO_RECORDED, RECORDED_FIELDS, settings_of
from .validation import Kind, Parts, Retrieval, Rule, engine_that_steps, member_rules, refused_by_algorithm

SUPPORTS_OF_QUALITY = 10  # supports that a part of the tasks' own data has rows for
QUERY_ROWS = 512  # of all tasks of an update, where the configuration has no number for each
STARTER_DATA = Path("starter_data")
COLLECT_CONFIGS = Path("configs/collect")


class Examined:
  """A configuration and the manifest of its dataset. Reading a part of it raises what is wrong with that part."""

  def __init__(self, config: ml_collections.ConfigDict):
    self.config = config

  @cached_property
  def manifest(self) -> Manifest:
    """The manifest of the dataset."""
    return read_manifest(self.config.dataset.directory)

  @cached_property
  def family(self) -> TaskFamily:
    """The family that the dataset belongs to, in the variant that shows the task, if one does."""
    family, shown = self.recorded_family, self.config.dataset.shown_task
    return family if shown == "none" else VARIANTS[shown](family)._replace(name=f"{family.name}+{shown}")

  @cached_property
  def recorded_family(self) -> TaskFamily:
    """The family as it was recorded."""
    return family_of(self.manifest, self.config.dataset.directory)

  @cached_property
  def split(self) -> TaskSplit:
    """Tasks to train and to test on."""
    split, wanted = task_split(self.config, self.manifest, self.family), self.config.dataset.train_tasks
    if wanted is None:
      return split
    if wanted > len(split.train):
      raise ConfigurationError(
        f"config.dataset.train_tasks = {wanted}: the dataset has {len(split.train)} training tasks"
      )
    return split._replace(train=evenly_spaced(split.train, wanted))

  @property
  def problem(self) -> Problem:
    """The sizes of the data, their discount and the length of their episodes."""
    return problem_of(self.manifest, self.family, len(self.split.train))

  @property
  def tasks_per_update(self) -> int:
    """Tasks of one update: all, where there are fewer than configured and none is repeated."""
    training = self.config.training
    wanted: int = training.tasks_per_update
    return wanted if training.repeated_tasks else min(wanted, len(self.split.train))

  @property
  def query_size(self) -> int:
    """Transitions of a task that judge an update."""
    return query_size_of(self.config.training, self.tasks_per_update)

  @property
  def evaluated_train_tasks(self) -> tuple[int, ...]:
    """Training tasks that are evaluated too."""
    return evenly_spaced(self.split.train, self.config.evaluation.train_tasks)

  @cached_property
  def algorithm(self) -> Algorithm:
    """The algorithm as configured, for its properties alone: it is made while JAX traces, which asks for no device."""
    made: list[Algorithm] = []
    jax.eval_shape(lambda: made.append(self.make_algorithm()))
    return made[0]

  def make_algorithm(self) -> Algorithm:
    """The algorithm as configured."""
    return make_algorithm(self.config.algorithm.name, self.problem, settings_of(self.config))

  def sizes(self, tasks: Iterable[int]) -> dict[int, int]:
    """Transitions of tasks, by index: exactly where all are used, and at most where episodes decide."""
    skip = self.config.dataset.skip
    return {task: -(-self.manifest.tasks[task].num_transitions // skip) for task in tasks}


def query_size_of(training: ml_collections.ConfigDict, tasks_per_update: int) -> int:
  """Transitions of a task that judge an update: where the configuration has none, so that all tasks have 512."""
  return QUERY_ROWS // tasks_per_update if training.query_size is None else training.query_size


def evenly_spaced(tasks: Sequence[int], count: int) -> tuple[int, ...]:
  """`count` of the tasks, from the first to the last."""
  return tuple(tasks[position] for position in np.linspace(0, len(tasks) - 1, count).round().astype(int))


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
  directory = config.dataset.directory
  if config.dataset.split == "in_distribution":
    split = TaskSplit(manifest.train_tasks, manifest.test_tasks)
    if problems := [
      f"{directory}: its manifest names no {name} tasks"
      for name, indices in zip(("train", "test"), split, strict=True)
      if not indices
    ]:
      raise ConfigurationError(*problems)
    try:
      tasks_of(manifest, family, split.train + split.test)
    except DatasetError as error:
      raise DatasetError(f"{directory}: {error}") from error
    return split
  place = "config.dataset.split = 'extrapolation'"
  if family.extrapolation is None:
    raise ConfigurationError(f"{place}: family {family.name!r} has no such split")
  wanted, available = 1 + max(family.extrapolation.train + family.extrapolation.test), len(manifest.tasks)
  if available < wanted:
    raise ConfigurationError(f"{place}: it splits {wanted} tasks, {directory} has {available}")
  stated = tasks_of(manifest, family, range(wanted))
  for name, values in family.tasks.items():
    if not np.allclose(stated[name], values[:wanted], rtol=1e-5):
      raise ConfigurationError(
        f"{place}: the tasks of {directory} are not those of family {family.name!r}: {name} differs"
      )
  return family.extrapolation


def data_digests(directory: str, supports: Iterable[str]) -> dict[str, str]:
  """The digests of a dataset, and of those of other tasks' policies that supports are drawn from."""
  sources = {DATASET: directory}
  sources |= {name: other_policies_directory(directory, name) for name in supports if name in OTHER_POLICIES}
  return {name: content_digest(read_manifest(source)) for name, source in sources.items()}


def support_directory(config: ml_collections.ConfigDict) -> Path:
  """The dataset that evaluation draws supports from."""
  directory = config.dataset.directory
  support = config.evaluation.support
  return Path(other_policies_directory(directory, support) if support in OTHER_POLICIES else directory)


def missing_dataset(directory: Path) -> str:
  """The line about a dataset that is missing: which there are instead, and how to collect it."""
  starters = sorted(str(path.parent) for path in STARTER_DATA.glob(f"*/{MANIFEST_FILE}"))
  families = sorted({path.stem for path in COLLECT_CONFIGS.glob("*.py")} - {"__init__", "any", "defaults"})
  is_known = directory.name in families
  command = f"python -m experiments.collect --config={COLLECT_CONFIGS}/{directory.name if is_known else '<family>'}.py"
  if families and not is_known:
    command += f" (families: {', '.join(families)}; any.py:<module>:<attribute> for one of your own)"
  return (
    f"config.dataset.directory = {str(directory)!r}: no dataset there. "
    f"Starter data in this directory: {', '.join(starters) or 'none'}. To collect a full dataset: {command}"
  )


def _parts_of_support(examined: Examined, section: str) -> Iterator[str]:
  size, parts = examined.config[section].support_size, examined.algorithm.support_parts
  if size % parts:
    yield (
      f"config.{section}.support_size = {size} is not a multiple of {parts}, the inner steps of "
      f"{examined.config.algorithm.name}, each of which takes an equal share of the support"
    )


def _consecutive_rows(examined: Examined) -> Iterator[str]:
  config = examined.config
  orders = (config.training.order, config.evaluation.order)
  if examined.algorithm.consecutive_rows and orders != ("contiguous", "contiguous"):
    yield (
      f"config.algorithm: {examined.config.algorithm.name} reads consecutive transitions, for a memory or for targets "
      "'td_lambda': set config.training.order and config.evaluation.order to 'contiguous'"
    )


def _update_on_shapes(examined: Examined) -> Iterator[str]:
  """The error of an update on batches of the configured sizes, found without computing it.

  Agents without a belief about tasks take supports of any size, and tracing hundreds of their inner steps takes long.
  """
  config, problem = examined.config, examined.problem
  if examined.algorithm.prior is no_prior:
    return

  def rows(size: int) -> Transition:
    zeros = partial(jnp.zeros, (examined.tasks_per_update, size))
    observation = jnp.zeros((examined.tasks_per_update, size, problem.observation_size))
    action = jnp.zeros((examined.tasks_per_update, size, problem.action_size))
    return Transition(observation, action, zeros(), observation, zeros(), zeros(), zeros(), observation, zeros())

  def update() -> object:
    algorithm, key = examined.make_algorithm(), jax.random.key(0)
    index = jnp.arange(examined.tasks_per_update)
    batch = TaskBatch(rows(config.training.support_size), rows(examined.query_size), index)
    return algorithm.update(algorithm.init(key), batch, key)

  try:
    jax.eval_shape(update)
  except ValueError as error:
    # The error names the field that does not fit, where it is the size of the queries.
    field = "query_size" if str(error).startswith("query_size") else "support_size"
    yield f"config.training.{field} = {config.training[field]}: {error}"


def _part_of_data(examined: Examined) -> Iterator[str]:
  dataset = examined.config.dataset
  if (dataset.quality == "all") != (dataset.transitions_per_task is None):
    yield (
      f"config.dataset.quality = {dataset.quality!r} with config.dataset.transitions_per_task = "
      f"{dataset.transitions_per_task}: a part of the data needs its size, and 'all' has none"
    )


def _dataset(examined: Examined) -> Iterable[str]:
  directory = Path(examined.config.dataset.directory)
  if not (directory / MANIFEST_FILE).is_file():
    return [missing_dataset(directory)]
  return examine_manifest(directory)[1]


def _shown_task(examined: Examined) -> Iterator[str]:
  """Tasks whose index would be that of another task: those of the dataset are none of its family."""
  if examined.config.dataset.shown_task != "task_index":
    return
  family, directory = examined.recorded_family, examined.config.dataset.directory
  indices = (*examined.split.train, *examined.split.test)
  stated = tasks_of(examined.manifest, family, indices)
  for place, index in enumerate(indices):
    same = [
      np.isclose(stated[name][place], values, rtol=1e-5).reshape(family.num_tasks, -1)
      for name, values in family.tasks.items()
    ]
    if not np.any(np.all(np.concatenate(same, axis=1), axis=1)):
      yield (
        f"config.dataset.shown_task = 'task_index': task {index} of {directory} is none of family {family.name!r}; "
        "'task_vector' shows its numbers"
      )
      return


def _relabelled(examined: Examined) -> Iterator[str]:
  """Episodes of other tasks beside a part of a collection, or in a family that cannot reward them."""
  dataset = examined.config.dataset
  place = f"config.dataset.relabelled_episodes = {dataset.relabelled_episodes}"
  if not dataset.relabelled_episodes:
    return
  if dataset.quality != "all":
    yield f"{place}: they are of whole collections, and config.dataset.quality = {dataset.quality!r}"
  try:
    tasks_to_relabel(examined.manifest, examined.recorded_family, examined.split.train)
  except DatasetError as error:
    yield f"{place}: {error}"


def _size_of_part(examined: Examined) -> Iterator[str]:
  wanted = examined.config.dataset.transitions_per_task
  if wanted is None:
    return
  sizes = {task: examined.manifest.tasks[task].num_transitions for task in set().union(*examined.split)}
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < wanted:
    yield f"config.dataset.transitions_per_task = {wanted}: task {smallest} of the dataset has {sizes[smallest]}"


def check_batches(examined: Examined, sizes: Mapping[int, int]) -> None:
  """Raises `ConfigurationError` unless every training task has transitions for a disjoint support and query.

  `sizes` are the transitions of each training task, by its index in the manifest.
  """
  support, query = examined.config.training.support_size, examined.query_size
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < support + query:
    raise ConfigurationError(
      f"config.training.support_size = {support} and config.training.query_size = {query} take {support + query} "
      f"transitions of a task: task {smallest} has {sizes[smallest]}"
    )


def _train_tasks(examined: Examined) -> Iterator[str]:
  wanted, found = examined.config.evaluation.train_tasks, len(examined.split.train)
  if wanted > found:
    yield f"config.evaluation.train_tasks = {wanted}: the dataset has {found} training tasks"


def _quality(examined: Examined) -> Iterator[str]:
  """Own episodes of a quality that the dataset does not have enough of, or that are not adapted to."""
  evaluation = examined.config.evaluation
  if evaluation.quality == "all":
    return
  place = f"config.evaluation.quality = {evaluation.quality!r}"
  if evaluation.support != "own":
    yield f"{place}: a part of the tasks' own data, and config.evaluation.support = {evaluation.support!r}"
    return
  wanted = SUPPORTS_OF_QUALITY * evaluation.support_size
  sizes = {task: examined.manifest.tasks[task].num_transitions for task in examined.split.test}
  smallest = min(sizes, key=sizes.__getitem__)
  if sizes[smallest] < wanted:
    yield f"{place}: {SUPPORTS_OF_QUALITY} supports are {wanted} transitions, task {smallest} has {sizes[smallest]}"


def _learning_goes_on(examined: Examined) -> Iterator[str]:
  """Own episodes to learn from, where the algorithm cannot, or there is nothing recorded before."""
  evaluation, algorithm = examined.config.evaluation, examined.algorithm
  if not evaluation.own_episodes:
    return
  place, name = f"config.evaluation.own_episodes = {evaluation.own_episodes}", examined.config.algorithm.name
  if evaluation.support == "online":
    yield f"{place}: learning goes on after adaptation to recorded rows, and config.evaluation.support = 'online'"
  if algorithm.tuning is None:
    yield f"{place}: {name} does not learn by an ordinary optimiser; macaw, maml_awr and multi-task agents do"
  if algorithm.consecutive_rows:
    yield f"{place}: {name} reads consecutive rows; its own are drawn at random"


def _supports(examined: Examined) -> Iterable[str]:
  config = examined.config
  if config.evaluation.support not in OTHER_POLICIES:
    return ()
  directory = support_directory(config)
  if not (directory / MANIFEST_FILE).is_file():
    line = (
      f"config.evaluation.support = {config.evaluation.support!r}: no dataset at {directory}; experiments.collect "
      "writes it beside the family's own data"
    )
    if config.evaluation.support == "other_policies":
      line += ", and experiments.data other_policies makes it of a dataset whose rewards its family recomputes"
    return [line]
  indices = examined.split.test + examined.evaluated_train_tasks
  return examine_files(directory, manifest_with(directory, examined.recorded_family, indices))


def manifest_with(directory: str | Path, family: TaskFamily, indices: Sequence[int]) -> Manifest:
  """The manifest of another dataset of a family that has these tasks.

  Raises:
    DatasetError: there is none that can be read.
    ConfigurationError: it is of another family, or does not have these tasks.
  """
  manifest = read_manifest(directory)
  if manifest.family != family.name or max(indices) >= len(manifest.tasks):
    raise ConfigurationError(
      f"{directory}: expected task {max(indices)} of family {family.name!r}, got {len(manifest.tasks)} tasks of "
      f"{manifest.family!r}"
    )
  return manifest


def _support_sizes(examined: Examined) -> Iterator[str]:
  evaluation = examined.config.evaluation
  if evaluation.support not in RECORDED:
    return
  own = evaluation.support == "own"
  supports = examined.manifest if own else read_manifest(support_directory(examined.config))
  for name, tasks in (("test", examined.split.test), ("train", examined.evaluated_train_tasks)):
    sizes = examined.sizes(tasks) if own else {task: supports.tasks[task].num_transitions for task in tasks}
    yield from missing_rows(evaluation.support_size, name, sizes)


def missing_rows(support_size: int, split: str, sizes: Mapping[int, int]) -> Iterator[str]:
  """A task of a split that has fewer than `support_size` transitions; `sizes` by its index in the manifest."""
  smallest = min(sizes, key=sizes.__getitem__, default=None)
  if smallest is not None and sizes[smallest] < support_size:
    yield f"config.evaluation.support_size = {support_size}: task {smallest} ({split}) has {sizes[smallest]}"


def _retrieval(examined: Examined) -> Iterator[str]:
  """Rows that cannot be retrieved, or that the algorithm cannot adapt to."""
  config, algorithm = examined.config, examined.algorithm
  if not config.retrieval.enabled:
    return
  place, name = "config.retrieval.enabled = True", config.algorithm.name
  if algorithm.consecutive_rows:
    yield f"{place}: {name} reads consecutive rows; retrieved ones are not"
  if config.retrieval.rows % algorithm.support_parts:
    yield (
      f"config.retrieval.rows = {config.retrieval.rows} is not a multiple of {algorithm.support_parts}, the inner "
      f"steps of {name}, each of which takes an equal share"
    )
  if len(examined.split.train) < 2:
    differ_in = examined.family.differ_in
    yield f"{place}: expected two training tasks or more, whose {differ_in} differ, the dataset has one"


def _own_episodes(examined: Examined) -> Iterator[str]:
  parts, horizon = examined.algorithm.support_parts, examined.family.horizon
  if examined.config.evaluation.support == "online" and parts > horizon:
    yield (
      f"config.evaluation.support = 'online': an episode has {horizon} steps, fewer than the {parts} inner steps that "
      "share it"
    )


_DATA = ("dataset.directory",)
_FAMILY = (*_DATA, "dataset.shown_task")
_TASKS = (*_FAMILY, "dataset.split", "dataset.train_tasks")
_PART = (*_TASKS, "dataset.quality", "dataset.transitions_per_task", "dataset.skip")
_BATCH = (
  "training.support_size",
  "training.query_size",
  "training.tasks_per_update",
  "training.repeated_tasks",
)
_SUPPORTS = ("evaluation.support", "evaluation.train_tasks")
_ALGORITHM = (*_TASKS, "algorithm", "training.steps")  # A decay may follow training.steps.

RULES = (
  Rule(("dataset.quality", "dataset.transitions_per_task"), _part_of_data, spoils="dataset.quality"),
  Rule(_DATA, _dataset, spoils="dataset.directory"),
  Rule(_DATA, lambda examined: examine_files(examined.config.dataset.directory, examined.manifest)),
  Rule(_FAMILY, lambda examined: examined.family and None, spoils="dataset.directory"),
  Rule(_TASKS, lambda examined: examined.split and None, spoils="dataset.split"),
  Rule(_TASKS, _shown_task, spoils="dataset.shown_task"),
  Rule((*_TASKS, "dataset.relabelled_episodes", "dataset.quality"), _relabelled),
  Rule(_ALGORITHM, refused_by_algorithm, spoils="algorithm"),
  *(
    Rule(
      (f"{section}.support_size", *_ALGORITHM), partial(_parts_of_support, section=section), f"{section}.support_size"
    )
    for section in ("training", "evaluation")
  ),
  Rule(("training.order", "evaluation.order", *_ALGORITHM), _consecutive_rows),
  Rule((*_ALGORITHM, *_BATCH), _update_on_shapes),
  Rule(_PART, _size_of_part, spoils="dataset.transitions_per_task"),
  Rule(
    (*_PART, *_BATCH),
    lambda examined: check_batches(examined, examined.sizes(examined.split.train)),
  ),
  Rule((*_TASKS, "evaluation.train_tasks"), _train_tasks, spoils="evaluation.train_tasks"),
  Rule((*_TASKS, *_SUPPORTS), _supports, spoils="evaluation.support"),
  Rule((*_PART, *_SUPPORTS, "evaluation.support_size"), _support_sizes),
  Rule((*_TASKS, *_SUPPORTS, "evaluation.support_size", "evaluation.quality"), _quality),
  Rule((*_ALGORITHM, "evaluation.support", "evaluation.own_episodes"), _learning_goes_on),
  Rule((*_ALGORITHM, "evaluation.support"), _own_episodes),
  Rule((*_ALGORITHM, "retrieval.enabled", "retrieval.rows"), _retrieval),
  Rule((*_FAMILY, "evaluation.engine"), engine_that_steps),
  *member_rules("training.tasks_per_update", "training.repeated_tasks", *_TASKS, call="log_every"),
)


def assemble(examined: Examined, train: Split | None = None) -> Parts:
  """Loads the data, unless the training tasks have theirs already, and makes the parts of the run.

  Raises:
    DatasetError: the files are not as they should be.
    ConfigurationError: the data do not fit the configuration.
  """
  config, manifest, family = examined.config, examined.manifest, examined.family
  train = train or load_training(examined)
  assert train.data is not None
  check_batches(examined, dict(zip(train.indices, train.data.size, strict=True)))
  source = recorded(
    train.data,
    tasks_per_update=config.training.tasks_per_update,
    support_size=config.training.support_size,
    query_size=examined.query_size,
    order=config.training.order,
    repeated_tasks=config.training.repeated_tasks,
    statistics=None if config.dataset.scaling == "fitted" else no_scaling(family.observation_size),
    task_names=train.indices,
    tasks=train.tasks,
  )
  statistics = source.statistics(train.data)
  splits = evaluated_splits(examined, train)
  sizes, test = train.data.size, splits[0]
  shared = ", the same tasks" if train.indices == test.indices else ""
  return Parts(
    family=family,
    problem=examined.problem,
    source=lambda acting: source,
    evaluate=lambda acting: make_evaluate(examined, acting, splits),
    identity={DATASET: content_digest(manifest), SUPPORT: content_digest(read_manifest(support_directory(config)))},
    description=(
      f"{family.name}: {len(train.indices)} training tasks, {len(test.indices)} test tasks{shared}; observations of "
      f"{family.observation_size}, actions of {family.action_size}, episodes of {family.horizon} steps",
      f"training data: {int(np.sum(sizes))} transitions, {int(np.min(sizes))} to {int(np.max(sizes))} a task, quality "
      f"'{config.dataset.quality}'; returns are divided by {float(statistics.return_scale):.4g}",
      scale_text(manifest.references),
    ),
    train=train,
    splits=splits,
    retrieval=retrieval_of(examined, train.data, statistics),
  )


def retrieval_of(examined: Examined, data: Dataset, statistics: Statistics) -> Retrieval | None:
  """The retrieval from the training tasks' `data`, if it is wanted."""
  values = examined.config.retrieval.to_dict()
  if not values.pop("enabled"):
    return None
  settings = RetrievalSettings(examined.family.differ_in, **values)
  return Retrieval(settings, lambda key: fit_reference(normalise_dataset(statistics, data), settings, key))


def load_training(examined: Examined) -> Split:
  """The training tasks with the configured part of their own data, and with episodes of each other where wanted.

  Raises:
    ConfigurationError: rewards of other tasks cannot be recomputed; names the field.
  """
  config, manifest, indices = examined.config.dataset, examined.manifest, examined.split.train
  if not config.relabelled_episodes:
    return load_split(examined, "train", indices)
  episodes = [read_episodes(config.directory, manifest, task) for task in indices]
  try:
    joined = beside_others(manifest, episodes, examined.recorded_family, indices, config.relabelled_episodes)
  except DatasetError as error:
    place = f"config.dataset.relabelled_episodes = {config.relabelled_episodes}"
    raise ConfigurationError(f"{place}: {error}") from error
  return _split(examined, "train", indices, dataset_of(joined, manifest.discount, config.skip))


def load_split(examined: Examined, name: str, indices: Sequence[int]) -> Split:
  """Tasks of the dataset with the configured part of their own data."""
  dataset = examined.config.dataset
  data = load_dataset(
    dataset.directory,
    tasks=indices,
    quality=dataset.quality,
    transitions_per_task=dataset.transitions_per_task,
    skip=dataset.skip,
  )
  return _split(examined, name, indices, data)


def load_supports(examined: Examined, name: str, indices: Sequence[int]) -> Split:
  """Tasks of the dataset with the part of their own data that evaluation adapts to."""
  evaluation = examined.config.evaluation
  data = load_dataset(
    examined.config.dataset.directory,
    tasks=indices,
    quality=evaluation.quality,
    transitions_per_task=SUPPORTS_OF_QUALITY * evaluation.support_size,
  )
  return _split(examined, name, indices, data)


def _split(examined: Examined, name: str, indices: Sequence[int], data: Dataset | None) -> Split:
  split = recorded_split(examined.manifest, examined.family, name, indices, data)
  shown = examined.config.dataset.shown_task
  if data is None or shown == "none":
    return split
  numbers = jax.vmap(NUMBERS[shown](examined.recorded_family))(jax.tree.map(jnp.asarray, split.tasks))  # [T, W]
  return split._replace(data=show_tasks(data, np.asarray(numbers)))


def evaluated_splits(examined: Examined, train: Split | None = None) -> tuple[Split, ...]:
  """The test tasks and the wanted training tasks, with the data that evaluation adapts to.

  `train` are all training tasks with their own data, if those are loaded. Raises `ConfigurationError` where a task has
  too few transitions.
  """
  wanted = {"test": examined.split.test, "train": examined.evaluated_train_tasks}
  splits = tuple(_with_support(examined, name, indices, train) for name, indices in wanted.items() if indices)
  if examined.config.evaluation.support in RECORDED:
    for split in splits:
      assert split.data is not None
      sizes = dict(zip(split.indices, split.data.size, strict=True))
      if problems := list(missing_rows(examined.config.evaluation.support_size, split.name, sizes)):
        raise ConfigurationError(*problems)
  return splits


def _with_support(examined: Examined, name: str, indices: Sequence[int], train: Split | None) -> Split:
  evaluation = examined.config.evaluation
  if evaluation.support == "own" and evaluation.quality != "all":
    return load_supports(examined, name, indices)
  if evaluation.support == "own":
    relabelled = examined.config.dataset.relabelled_episodes > 0
    # One copy in memory, where tasks are shared.
    if train is not None and set(indices) <= set(train.indices) and not relabelled:
      return _some_tasks(train, name, indices)
    return load_split(examined, name, indices)
  if evaluation.support in OTHER_POLICIES:
    directory = other_policies_directory(examined.config.dataset.directory, evaluation.support)
    return _split(examined, name, indices, load_dataset(directory, tasks=indices))
  split = _split(examined, name, indices, None)
  if evaluation.support == "online":
    return split
  data = random_policy_dataset(
    examined.family,
    split.tasks,
    discount=examined.manifest.discount,
    support_size=evaluation.support_size,
    engine=evaluation.engine,
  )
  return split._replace(data=data)


def _some_tasks(split: Split, name: str, indices: Sequence[int]) -> Split:
  """Some tasks of a split under another name; all of them share its arrays."""
  if tuple(indices) == split.indices:
    return split._replace(name=name)
  chosen = np.array([split.indices.index(index) for index in indices])
  references = None if split.references is None else tuple(split.references[position] for position in chosen)
  tasks, data = jax.tree.map(lambda leaf: leaf[chosen], (split.tasks, split.data))
  return split._replace(name=name, indices=tuple(indices), tasks=tasks, references=references, data=data)


def make_evaluate(examined: Examined, acting: Algorithm, splits: Sequence[Split]) -> Evaluate:
  """The configured protocol on the evaluated splits."""
  evaluation = examined.config.evaluation
  if evaluation.own_episodes:
    return fine_tuning(
      acting,
      examined.family,
      splits,
      support=evaluation.support,
      support_size=evaluation.support_size,
      discount=examined.manifest.discount,
      repetitions=evaluation.episodes,
      own_episodes=evaluation.own_episodes,
      engine=evaluation.engine,
    )
  if evaluation.support == "online":
    return online(
      acting,
      examined.family,
      splits,
      discount=examined.manifest.discount,
      repetitions=evaluation.episodes,
      engine=evaluation.engine,
    )
  return offline(
    acting,
    examined.family,
    splits,
    support=evaluation.support,
    support_size=evaluation.support_size,
    episodes=evaluation.episodes,
    order=evaluation.order,
    engine=evaluation.engine,
  )


KIND = Kind(
  fields=RECORDED_FIELDS,
  rules=RULES,
  examine=Examined,
  assemble=assemble,
  data_name=lambda config: Path(config.dataset.directory).name,
  by_data=lambda examined: {"training.query_size": examined.query_size},
  call="log_every",
  may_change=("dataset.directory", "training.steps"),
  added=ADDED_TO_RECORDED,
)
