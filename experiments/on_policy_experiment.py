"""From the configuration of a run on episodes that it acts itself to the parts of an experiment."""

from functools import partial
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from experiments.experiment import evenly_spaced, make_algorithm
from experiments.on_policy_configuration import problem_of
from experiments.workload import Evaluate
from macaw_jax import envs
from macaw_jax.data.statistics import Statistics, no_scaling
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.sampled_rollout import SampledRollout, make_sampled_rollout
from macaw_jax.evaluation.on_policy import make_on_policy_protocol
from macaw_jax.evaluation.protocols import Evaluation, Row, returns_of_task
from macaw_jax.sources.on_policy import collecting, sample_distinct_tasks
from macaw_jax.training.loop import Sample
from macaw_jax.types import Algorithm, Key, Params

PROTOCOL = "on_policy"


class OnPolicyExperiment(NamedTuple):
  """A family, whose tasks take the place of data."""

  family: TaskFamily
  evaluated: tuple[int, ...]  # test tasks of the family

  @property
  def statistics(self) -> Statistics:
    """An agent that acts before there are data sees them as they are."""
    return no_scaling(self.family.observation_size)

  @property
  def train_tasks(self) -> tuple[int, ...]:
    """Of the family."""
    return self.family.train_tasks

  @property
  def test_tasks(self) -> Task:
    """The evaluated test tasks, `[T, ...]`."""
    return self._tasks(self.evaluated)

  def _tasks(self, indices: tuple[int, ...]) -> Task:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(indices)], self.family.tasks)

  def training_data(self) -> Task:
    """The family's training tasks, `[T, ...]`."""
    return self._tasks(self.train_tasks)

  def tasks_of_update(self, config: ml_collections.ConfigDict) -> int:
    """As configured."""
    return config.rollouts.tasks_per_update

  def make_sample(self, config: ml_collections.ConfigDict) -> Sample:
    """Distinct tasks."""
    return partial(sample_distinct_tasks, num_tasks=self.tasks_of_update(config))

  def make_algorithm(self, config: ml_collections.ConfigDict, **changes: Any) -> Algorithm:
    """The configured algorithm, whose updates collect what they learn from."""
    algorithm = make_algorithm(config, problem_of(config, self.family), **changes)
    return collecting(
      algorithm,
      self.make_rollout(config, algorithm, config.rollouts.horizon),
      num_episodes=config.rollouts.episodes,
      inner_steps=config.rollouts.inner_steps,
    )

  def make_rollout(
    self, config: ml_collections.ConfigDict, algorithm: Algorithm, horizon: int | None
  ) -> SampledRollout:
    """Episodes of an algorithm in the family's tasks, of at most `horizon` steps; of the family's if None."""
    return make_sampled_rollout(self.family, algorithm.act, horizon=horizon, engine=config.rollouts.engine)

  def make_evaluate(self, config: ml_collections.ConfigDict, algorithm: Algorithm) -> Evaluate:
    """Adaptation to own episodes in each evaluated task, then fresh ones."""
    protocol = make_on_policy_protocol(
      algorithm,
      self.make_rollout(config, algorithm, config.evaluation.horizon),
      support_episodes=config.evaluation.support_episodes,
      num_episodes=config.evaluation.episodes,
      inner_steps=config.rollouts.inner_steps,
    )

    def evaluate(params: Params, key: Key) -> tuple[list[Row], Evaluation]:
      evaluation = protocol(params, self.test_tasks, key)
      return self._rows(config, evaluation), evaluation

    return evaluate

  def _rows(self, config: ml_collections.ConfigDict, evaluation: Evaluation) -> list[Row]:
    """As `protocols.result_rows`, with the episodes of a support and without scores."""
    return [
      {
        "protocol": PROTOCOL,
        "split": "test",
        "task_index": index,
        "task": {name: np.asarray(values[index]).tolist() for name, values in self.family.tasks.items()},
        "support_episodes": config.rollouts.inner_steps * config.evaluation.support_episodes,
        **returns_of_task(evaluation, position),
      }
      for position, index in enumerate(self.evaluated)
    ]

  def describe(self, config: ml_collections.ConfigDict) -> list[str]:
    """What is acted in."""
    family, rollouts = self.family, config.rollouts
    num_sets = 1 + rollouts.inner_steps
    return [
      f"{family.name}: {len(family.train_tasks)} training tasks, {len(self.evaluated)} of {len(family.test_tasks)} "
      f"test tasks; observations of {family.observation_size}, actions of {family.action_size}, episodes of "
      f"{rollouts.horizon or family.horizon} steps",
      f"in an update {num_sets} x {rollouts.episodes} episodes of each of {rollouts.tasks_per_update} tasks",
    ]


def make_on_policy_experiment(config: ml_collections.ConfigDict) -> OnPolicyExperiment:
  """The family and its tasks, from a configuration that is valid."""
  family = envs.make(config.rollouts.family)
  chosen = evenly_spaced(len(family.test_tasks), config.evaluation.tasks)
  return OnPolicyExperiment(family, tuple(family.test_tasks[position] for position in chosen))
