"""From a configuration to the parts of a run that collects its own data."""

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from experiments.configuration import ConfigurationError, flatten
from experiments.experiment import evenly_spaced, make_algorithm
from experiments.online_configuration import OnlineExamined
from macaw_jax import envs
from macaw_jax.data.context_replay import sample_context_batch
from macaw_jax.data.statistics import Statistics
from macaw_jax.envs.family import TaskFamily
from macaw_jax.evaluation.online import OnlineProtocol, make_online_protocol
from macaw_jax.evaluation.protocols import PROTOCOLS, Row, returns_of_task
from macaw_jax.sources.replay import CollectionSettings, Collector, make_collector
from macaw_jax.training.loop import Sample
from macaw_jax.types import Algorithm, Key, Params

# What the memories' sizes follow from, and which iteration an update belongs to.
SIZES_OF_MEMORIES = (
  "collection.family",
  "collection.initial_episodes",
  "collection.tasks_per_iteration",
  "collection.prior_episodes",
  "collection.posterior_episodes",
  "collection.extra_episodes",
  "training.steps",
  "training.updates_per_iteration",
)


class OnlineExperiment(NamedTuple):
  """A family, the agent, and how it collects."""

  family: TaskFamily
  algorithm: Algorithm
  settings: CollectionSettings
  collector: Collector
  sample: Sample


def make_online_experiment(config: ml_collections.ConfigDict) -> OnlineExperiment:
  """The parts of a configuration that has been validated.

  Raises:
    ConfigurationError: the algorithm does not take its hyper-parameters.
  """
  collection, training = config.collection, config.training
  examined = OnlineExamined(config)
  family, algorithm = examined.family, make_algorithm(config, examined.problem)
  settings = CollectionSettings(
    initial_episodes=collection.initial_episodes,
    tasks_per_iteration=collection.tasks_per_iteration,
    prior_episodes=collection.prior_episodes,
    posterior_episodes=collection.posterior_episodes,
    extra_episodes=collection.extra_episodes,
    context_size=training.support_size,
    iterations=training.steps // training.updates_per_iteration,
    ignored_observations=tuple(collection.ignored_observations),
  )
  critic_reward = envs.make(collection.critic_reward).reward if collection.critic_reward else None
  return OnlineExperiment(
    family,
    algorithm,
    settings,
    make_collector(
      algorithm,
      family,
      settings,
      discount=collection.discount,
      critic_reward=critic_reward,
      engine=config.evaluation.engine,
    ),
    partial(
      sample_context_batch,
      num_tasks=training.tasks_per_update,
      context_size=training.support_size,
      batch_size=training.query_size,
    ),
  )


class OnlineEvaluator:
  """The protocol `online` on the test tasks of a family, and on some of its training tasks if wanted.

  Args:
    experiment: family and agent.
    statistics: of the run.
    config: of the run.
  """

  def __init__(self, experiment: OnlineExperiment, statistics: Statistics, config: ml_collections.ConfigDict):
    evaluation, family = config.evaluation, experiment.family
    self._family, self._evaluation = family, evaluation
    self._protocol: OnlineProtocol = make_online_protocol(
      experiment.algorithm,
      family,
      statistics,
      discount=config.collection.discount,
      num_repetitions=evaluation.repetitions,
      num_episodes=evaluation.exploration_episodes + evaluation.adapted_episodes - 1,
      exploration_episodes=evaluation.exploration_episodes,
      engine=evaluation.engine,
    )
    chosen = evenly_spaced(len(family.train_tasks), evaluation.train_tasks)
    self._splits = {"test": family.test_tasks, "train": tuple(family.train_tasks[position] for position in chosen)}

  def __call__(self, params: Params, key: Key) -> list[Row]:
    """A row of plain numbers for each evaluated task."""
    rows: list[Row] = []
    for split, indices in self._splits.items():
      if indices:
        rows += self._rows(split, indices, params, key)
    return rows

  def _rows(self, split: str, indices: Sequence[int], params: Params, key: Key) -> list[Row]:
    tasks = jax.tree.map(itemgetter(np.asarray(indices)), self._family.tasks)
    evaluation = self._protocol(params, tasks, key)
    return [
      {
        "protocol": PROTOCOLS["online"],
        "split": split,
        "task_index": int(index),
        "task": {name: np.asarray(values[position]).tolist() for name, values in tasks.items()},
        "exploration_episodes": self._evaluation.exploration_episodes,
        **returns_of_task(evaluation, position),
      }
      for position, index in enumerate(indices)
    ]


def require_same_memories(before: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigurationError` if a run is to go on with another value of what the size of its memories follows from.

  They have room for what is collected until the last update, and no more.
  """
  now, then = (flatten(each.to_dict()) for each in (config, before))
  problems = [
    f"config.{name} = {now[name]!r}: this run began with {then.get(name)!r}, which decides how much its replay holds; "
    "choose another --config.output_directory"
    for name in SIZES_OF_MEMORIES
    if now[name] != then.get(name)
  ]
  if problems:
    raise ConfigurationError(*problems)
