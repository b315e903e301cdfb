"""Runs that collect their own data into replay buffers: the rules for their configurations, and their parts."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import jax
import ml_collections
import numpy as np

from macaw_jax import envs
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.names import directory_name
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluate import Split, online
from macaw_jax.json_files import flatten
from macaw_jax.sources.replay import CollectionSettings, replayed
from macaw_jax.types import Problem

from .configuration import ADDED_TO_REPLAYED, REPLAYED_FIELDS
from .recorded import evenly_spaced
from .validation import Kind, Parts, Rule, engine_that_steps, member_rules, refused_by_algorithm


def _family(field: str, name: str) -> TaskFamily:
  """The family that a field names; raises `ConfigurationError`, which names the field, if it cannot be made."""
  try:
    return envs.make(name)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"config.{field}: {problem}" for problem in error.problems)) from error


class InFamily:
  """A configuration of a run that acts in the tasks of a family, which one of its sections names with the discount.

  Args:
    config: of the run.
    section: `collection` or `rollouts`.
    tasks_from: the section that says how many tasks an update has.
  """

  def __init__(self, config: ml_collections.ConfigDict, section: str, tasks_from: str):
    self.config, self._section, self._tasks_from = config, section, tasks_from

  @cached_property
  def family(self) -> TaskFamily:
    """The family whose tasks are learned."""
    return _family(f"{self._section}.family", self.config[self._section].family)

  @property
  def problem(self) -> Problem:
    """The sizes of the family and the length of its episodes, and the discount."""
    family = self.family
    discount = self.config[self._section].discount
    return Problem(
      family.observation_size,
      family.action_size,
      len(family.train_tasks),
      discount,
      family.horizon,
      family.discrete_actions,
      family.task_entries,
    )

  @property
  def tasks_per_update(self) -> int:
    """Tasks of one update: all, where there are fewer than configured and none is repeated."""
    section = self.config[self._tasks_from]
    wanted: int = section.tasks_per_update
    return wanted if section.get("repeated_tasks", True) else min(wanted, len(self.family.train_tasks))


def at_most(section: str, field: str, limit: Callable[[TaskFamily], int], says: str) -> Rule:
  """The rule that a field is no larger than its family allows.

  Args:
    section: that names the family.
    field: dotted name; its value may be None.
    limit: the largest value.
    says: the text about a larger one, with `{limit}` for the limit and `{family!r}` for the name of the family.
  """

  def problems(examined: InFamily) -> Iterator[str]:
    wanted, largest = flatten(examined.config.to_dict())[field], limit(examined.family)
    if wanted is not None and wanted > largest:
      yield f"config.{field} = {wanted}: {says.format(limit=largest, family=examined.family.name)}"

  return Rule((f"{section}.family", field), problems, spoils=field)


def num_train_tasks(family: TaskFamily) -> int:
  """The number of tasks that a family has for training."""
  return len(family.train_tasks)


def _ignored_observations(examined: InFamily) -> Iterator[str]:
  indices, size = examined.config.collection.ignored_observations, examined.family.observation_size
  if any(index >= size for index in indices):
    yield (
      f"config.collection.ignored_observations = {indices}: family {examined.family.name!r} has observations of {size}"
    )


def _critic_reward(examined: InFamily) -> Iterator[str]:
  other = examined.config.collection.critic_reward
  if other is None:
    return
  family, reward = examined.family, _family("collection.critic_reward", other).reward
  task = {name: np.asarray(values[0]) for name, values in family.tasks.items()}
  key, action = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct((family.action_size,), np.float32)
  try:
    state = jax.eval_shape(family.reset, task, key)
    jax.eval_shape(reward, task, state, action, state)
  except Exception:  # Whatever a reward raises that is given tasks or states of another kind.
    yield (
      f"config.collection.critic_reward = {other!r}: its reward cannot be computed from tasks and states of family "
      f"{family.name!r}"
    )


def family_rule(section: str) -> Rule:
  """The rule that the family of a section can be made; where it is of one's own, its module is imported."""
  return Rule((f"{section}.family",), lambda examined: examined.family and None, spoils=f"{section}.family")


RULES = (
  family_rule("collection"),
  at_most(
    "collection",
    "collection.tasks_per_iteration",
    num_train_tasks,
    "family {family!r} has {limit} training tasks, and each is collected for once an iteration",
  ),
  at_most("collection", "evaluation.train_tasks", num_train_tasks, "family {family!r} has {limit} training tasks"),
  Rule(("collection.family", "collection.critic_reward"), _critic_reward),
  Rule(("collection.family", "collection.ignored_observations"), _ignored_observations),
  Rule(("collection.family", "evaluation.engine"), engine_that_steps),
  Rule(("collection.family", "collection.discount", "algorithm", "training.steps"), refused_by_algorithm),
  *member_rules(
    "training.tasks_per_update", "training.repeated_tasks", "collection.family", call="updates_per_iteration"
  ),
)


def split_of(family: TaskFamily, name: str, indices: Sequence[int]) -> Split:
  """Some tasks of a family, without data."""
  return Split(name, tuple(indices), jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(indices)], family.tasks))


def assemble(examined: InFamily, train: Split | None = None) -> Parts:
  """The parts of a run, from a configuration that is right; there are no recorded training tasks."""
  del train
  config, family = examined.config, examined.family
  collection, training, evaluation = config.collection, config.training, config.evaluation
  of_collection = {name: value for name, value in collection.items() if name in CollectionSettings.__annotations__}
  of_collection["ignored_observations"] = tuple(collection.ignored_observations)  # a list in the file of a run
  settings = CollectionSettings(
    context_size=training.support_size, iterations=training.steps // training.updates_per_iteration, **of_collection
  )
  wanted = {"test": family.test_tasks, "train": evenly_spaced(family.train_tasks, evaluation.train_tasks)}
  splits = tuple(split_of(family, name, indices) for name, indices in wanted.items() if indices)
  episodes = settings.prior_episodes + settings.posterior_episodes + settings.extra_episodes
  return Parts(
    family=family,
    problem=examined.problem,
    source=partial(
      replayed,
      family=family,
      settings=settings,
      discount=collection.discount,
      tasks_per_update=training.tasks_per_update,
      batch_size=training.query_size,
      repeated_tasks=training.repeated_tasks,
      critic_reward=envs.make(collection.critic_reward).reward if collection.critic_reward else None,
      engine=evaluation.engine,
    ),
    evaluate=partial(
      online,
      family=family,
      splits=splits,
      discount=collection.discount,
      repetitions=evaluation.episodes,
      num_episodes=evaluation.exploration_episodes + evaluation.adapted_episodes - 1,
      exploration_episodes=evaluation.exploration_episodes,
      engine=evaluation.engine,
    ),
    description=(
      f"{family.name}, which it collects from: {len(family.train_tasks)} training tasks, {len(family.test_tasks)} test "
      f"tasks; observations of {family.observation_size}, actions of {family.action_size}, episodes of "
      f"{family.horizon} steps",
      f"{settings.initial_episodes} episodes of each training task, then {settings.iterations} iterations: {episodes} "
      f"episodes of each of {settings.tasks_per_iteration} tasks, {training.updates_per_iteration} updates",
    ),
    splits=splits,
  )


KIND = Kind(
  fields=REPLAYED_FIELDS,
  rules=RULES,
  examine=partial(InFamily, section="collection", tasks_from="training"),
  assemble=assemble,
  data_name=lambda config: directory_name(config.collection.family),
  added=ADDED_TO_REPLAYED,
  call="updates_per_iteration",  # The buffers have room for so many iterations, so the number of steps is fixed too.
)
