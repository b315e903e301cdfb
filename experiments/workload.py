"""What a run is trained and evaluated on, recorded data or tasks to act in, as far as the training session knows it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ml_collections

from macaw_jax.data.statistics import Statistics
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.evaluation.protocols import Evaluation, Row
from macaw_jax.training.loop import Dataset, Sample
from macaw_jax.types import Algorithm, Key, Params

Evaluate = Callable[[Params, Key], tuple[list[Row], Evaluation]]
"""`(params, key) -> rows of all evaluated tasks, evaluation of the test tasks`."""


class Workload(Protocol):
  """Implemented by `experiment.Experiment` and `on_policy_experiment.OnPolicyExperiment`."""

  @property
  def family(self) -> TaskFamily:
    """That the tasks belong to."""

  @property
  def statistics(self) -> Statistics:
    """Scales that belong to the run as its parameters do."""

  @property
  def train_tasks(self) -> Sequence[int]:
    """Numbers of the training tasks, in the order of `training_data`."""

  @property
  def test_tasks(self) -> Task:
    """The test tasks that are evaluated, `[T, ...]`."""

  def training_data(self) -> Dataset:
    """What the compiled program is given: a pytree with leading axis `[T]`, over the training tasks."""

  def tasks_of_update(self, config: ml_collections.ConfigDict) -> int:
    """How many tasks an update has."""

  def make_sample(self, config: ml_collections.ConfigDict) -> Sample:
    """Draws from `training_data` what an update is given."""

  def make_algorithm(self, config: ml_collections.ConfigDict, **changes: Any) -> Algorithm:
    """The configured algorithm, some hyper-parameters changed; raises `ConfigurationError` for what it refuses."""

  def make_evaluate(self, config: ml_collections.ConfigDict, algorithm: Algorithm) -> Evaluate:
    """Evaluates parameters of an algorithm, as `config.evaluation` says."""

  def describe(self, config: ml_collections.ConfigDict) -> list[str]:
    """What training has to learn from, in lines for people."""
