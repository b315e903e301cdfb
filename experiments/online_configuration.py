"""What the configuration of a run that collects its own data may hold, and what its fields must fulfil together.

It has a section `collection` where that of a run on a dataset has `dataset`.
"""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import get_args

import jax
import ml_collections
import numpy as np

from experiments.configuration import FIELDS, Field, at_least, one_of
from experiments.validation import Rule, check, divided_into_calls, refused_by_algorithm, unwritable_directory
from macaw_jax import envs
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.rollout import Engine
from macaw_jax.types import Problem

# Those that learn from what is known before an episode has ended: no Monte-Carlo returns.
ALGORITHMS_ONLINE = ("pearl",)

ONLINE_FIELDS: dict[str, Field] = {
  "seed": FIELDS["seed"],
  "output_directory": FIELDS["output_directory"],
  "algorithm.name": one_of(ALGORITHMS_ONLINE),
  "collection.family": one_of(tuple(sorted(envs.FAMILIES))),
  "collection.critic_reward": one_of(tuple(sorted(envs.FAMILIES)))._replace(optional=True),
  "collection.discount": Field(float, lambda value: 0.0 < value <= 1.0, "a number above 0 and at most 1"),
  "collection.initial_episodes": at_least(1),
  "collection.tasks_per_iteration": at_least(1),
  "collection.prior_episodes": at_least(1),
  "collection.posterior_episodes": at_least(0),
  "collection.extra_episodes": at_least(0),
  "collection.ignored_observations": Field(
    tuple,
    lambda value: all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value),
    "indices from 0 up, as (17,)",
  ),
  "training.steps": at_least(1),
  "training.updates_per_iteration": at_least(1),
  "training.tasks_per_update": at_least(1),
  "training.support_size": at_least(1),
  "training.query_size": at_least(1),
  "training.evaluate_every": at_least(1),
  "training.checkpoint_every": at_least(1),
  "training.keep_checkpoints": at_least(1),
  "evaluation.repetitions": at_least(1),
  "evaluation.exploration_episodes": at_least(1),
  "evaluation.adapted_episodes": at_least(1),
  "evaluation.engine": one_of(get_args(Engine)),
  "evaluation.train_tasks": at_least(0),
}


def validate_online(config: ml_collections.ConfigDict, *, starts: bool = True) -> None:
  """As `experiments.validation.validate`, for a run that collects its own data.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  check(config, ONLINE_FIELDS, RULES + START_RULES if starts else RULES, OnlineExamined(config))


class OnlineExamined:
  """A configuration, and the family that it names."""

  def __init__(self, config: ml_collections.ConfigDict):
    self.config = config

  @cached_property
  def family(self) -> TaskFamily:
    """Whose tasks are learned."""
    return envs.make(self.config.collection.family)

  @property
  def problem(self) -> Problem:
    """What an algorithm must know of it."""
    family = self.family
    return Problem(
      family.observation_size, family.action_size, len(family.train_tasks), self.config.collection.discount
    )


def _tasks_per_iteration(examined: OnlineExamined) -> Iterator[str]:
  wanted, num_tasks = examined.config.collection.tasks_per_iteration, len(examined.family.train_tasks)
  if wanted > num_tasks:
    yield (
      f"config.collection.tasks_per_iteration = {wanted}: family {examined.family.name!r} has {num_tasks} training "
      "tasks, and each is collected for once an iteration"
    )


def _train_tasks(examined: OnlineExamined) -> Iterator[str]:
  wanted, num_tasks = examined.config.evaluation.train_tasks, len(examined.family.train_tasks)
  if wanted > num_tasks:
    yield (f"config.evaluation.train_tasks = {wanted}: family {examined.family.name!r} has {num_tasks} training tasks")


def _ignored_observations(examined: OnlineExamined) -> Iterator[str]:
  indices, size = examined.config.collection.ignored_observations, examined.family.observation_size
  if any(index >= size for index in indices):
    yield (
      f"config.collection.ignored_observations = {indices}: family {examined.family.name!r} has observations of {size}"
    )


def _critic_reward(examined: OnlineExamined) -> Iterator[str]:
  other = examined.config.collection.critic_reward
  if other is None:
    return
  family = examined.family
  task = {name: np.asarray(values[0]) for name, values in family.tasks.items()}
  key, action = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct((family.action_size,), np.float32)
  state = jax.eval_shape(family.reset, task, key)
  try:
    jax.eval_shape(envs.make(other).reward, task, state, action, state)
  except Exception:  # Whatever a reward raises that is given tasks or states of another kind.
    yield (
      f"config.collection.critic_reward = {other!r}: its reward cannot be computed from tasks and states of family "
      f"{family.name!r}"
    )


_FAMILY = ("collection.family",)

RULES = (
  *(
    Rule(
      (f"training.{name}", "training.updates_per_iteration"),
      partial(divided_into_calls, name=name, call="updates_per_iteration"),
    )
    for name in ("steps", "evaluate_every", "checkpoint_every")
  ),
  Rule((*_FAMILY, "collection.tasks_per_iteration"), _tasks_per_iteration),
  Rule((*_FAMILY, "evaluation.train_tasks"), _train_tasks),
  Rule((*_FAMILY, "collection.critic_reward"), _critic_reward),
  Rule((*_FAMILY, "collection.ignored_observations"), _ignored_observations),
  Rule((*_FAMILY, "collection.discount", "algorithm", "training.steps"), refused_by_algorithm),
)
START_RULES = (Rule(("output_directory",), unwritable_directory),)
