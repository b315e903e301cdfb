"""Runs on episodes of the present policy: what their configurations must fulfil, and what they are made into."""

from collections.abc import Iterator
from functools import cached_property, partial

import ml_collections

from macaw_jax import envs
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.evaluation.evaluate import Split
from macaw_jax.evaluation.evaluate import on_policy as evaluate_on_policy
from macaw_jax.sources.on_policy import collecting, on_policy
from macaw_jax.types import Algorithm, Problem

from .configuration import ON_POLICY_FIELDS
from .kind import Kind, Parts
from .recorded import evenly_spaced
from .replayed import split_of
from .validation import Rule, member_rules, refused_by_algorithm


class Examined:
  """A configuration, and the family that it names."""

  def __init__(self, config: ml_collections.ConfigDict):
    self.config = config

  @cached_property
  def family(self) -> TaskFamily:
    """Whose tasks are learned."""
    return envs.make(self.config.rollouts.family)

  @property
  def problem(self) -> Problem:
    """What an algorithm must know of it."""
    family = self.family
    return Problem(family.observation_size, family.action_size, len(family.train_tasks), self.config.rollouts.discount)

  @property
  def tasks_per_update(self) -> int:
    """Tasks of one update, all different."""
    return self.config.rollouts.tasks_per_update


def _tasks_per_update(examined: Examined) -> Iterator[str]:
  wanted, num_tasks = examined.config.rollouts.tasks_per_update, len(examined.family.train_tasks)
  if wanted > num_tasks:
    yield (
      f"config.rollouts.tasks_per_update = {wanted}: family {examined.family.name!r} has {num_tasks} training tasks, "
      "and those of an update are distinct"
    )


def _evaluated_tasks(examined: Examined) -> Iterator[str]:
  wanted, num_tasks = examined.config.evaluation.tasks, len(examined.family.test_tasks)
  if wanted > num_tasks:
    yield f"config.evaluation.tasks = {wanted}: family {examined.family.name!r} has {num_tasks} test tasks"


def _horizon(examined: Examined, section: str) -> Iterator[str]:
  wanted, horizon = examined.config[section].horizon, examined.family.horizon
  if wanted is not None and wanted > horizon:
    yield (
      f"config.{section}.horizon = {wanted}: episodes of family {examined.family.name!r} have at most {horizon} steps"
    )


def _evaluated_episodes(examined: Examined) -> Iterator[str]:
  evaluation = examined.config.evaluation
  if evaluation.episodes > evaluation.support_episodes:
    yield (
      f"config.evaluation.episodes = {evaluation.episodes}: expected at most config.evaluation.support_episodes = "
      f"{evaluation.support_episodes}, the episodes that the agent before adaptation is judged by"
    )


_FAMILY = ("rollouts.family",)

RULES = (
  Rule((*_FAMILY, "rollouts.tasks_per_update"), _tasks_per_update, spoils="rollouts.tasks_per_update"),
  *(
    Rule((*_FAMILY, f"{section}.horizon"), partial(_horizon, section=section)) for section in ("rollouts", "evaluation")
  ),
  Rule((*_FAMILY, "evaluation.tasks"), _evaluated_tasks),
  Rule(("evaluation.episodes", "evaluation.support_episodes"), _evaluated_episodes),
  Rule((*_FAMILY, "rollouts.discount", "algorithm", "training.steps"), refused_by_algorithm),
  *member_rules("rollouts.tasks_per_update", call="log_every"),
)


def assemble(examined: Examined, train: Split | None = None) -> Parts:
  """The parts of a run, from a configuration that is right; there are no recorded training tasks."""
  del train
  family, rollouts, evaluation = examined.family, examined.config.rollouts, examined.config.evaluation
  split = split_of(family, "test", evenly_spaced(family.test_tasks, evaluation.tasks))

  def wrap(algorithm: Algorithm) -> Algorithm:
    rollout = make_sampled_rollout(family, algorithm.act, horizon=rollouts.horizon, engine=rollouts.engine)
    return collecting(algorithm, rollout, num_episodes=rollouts.episodes, inner_steps=rollouts.inner_steps)

  return Parts(
    family=family,
    problem=examined.problem,
    source=lambda acting: on_policy(family, tasks_per_update=rollouts.tasks_per_update),
    evaluate=partial(
      evaluate_on_policy,
      family=family,
      splits=(split,),
      support_episodes=evaluation.support_episodes,
      episodes=evaluation.episodes,
      inner_steps=rollouts.inner_steps,
      horizon=evaluation.horizon,
      engine=rollouts.engine,
    ),
    description=(
      f"{family.name}, which it acts in: {len(family.train_tasks)} training tasks, {len(split.indices)} of "
      f"{len(family.test_tasks)} test tasks; observations of {family.observation_size}, actions of "
      f"{family.action_size}, episodes of {rollouts.horizon or family.horizon} steps",
      f"in an update {1 + rollouts.inner_steps} x {rollouts.episodes} episodes of each of {rollouts.tasks_per_update} "
      "tasks",
    ),
    splits=(split,),
    wrap=wrap,
  )


KIND = Kind(
  fields=ON_POLICY_FIELDS,
  rules=RULES,
  examine=Examined,
  assemble=assemble,
  data_name=lambda config: config.rollouts.family,
  call="log_every",
  may_change=("training.steps",),
)
