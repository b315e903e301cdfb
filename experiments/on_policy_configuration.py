"""What the configuration of a run on episodes that it acts itself may hold, and what its fields must fulfil together.

It has a section `rollouts` where that of a run on a dataset has `dataset`; and it may have a section `arms`, of values
of hyper-parameters by the name of the arm, which `config.population.variants` chooses from.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, get_args

import ml_collections

from experiments.arms import differing_names, parse_arms
from experiments.configuration import FIELDS, Field, at_least, hyperparameters, one_of
from experiments.hyperparameter_checks import can_be_traced, hyperparameter_faults, refusal_of
from experiments.population import check_seeds, shared
from experiments.validation import (
  ANY_PROBLEM,
  START_RULES,
  Rule,
  check,
  divided_into_calls,
  raised_by,
  refused_by_algorithm,
  undivided_axes,
  values_of_grid,
)
from macaw_jax import envs
from macaw_jax.algorithms import ON_POLICY
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.rollout import Engine
from macaw_jax.types import Problem

SHARED_FIELDS = (
  "seed",
  "output_directory",
  "training.steps",
  "training.log_every",
  "training.evaluate_every",
  "training.checkpoint_every",
  "training.keep_checkpoints",
  "training.max_skips_in_a_row",
  "evaluation.episodes",
  "population.seeds",
  "population.grid",
  "devices.seed",
  "devices.task",
  "devices.distributed",
)

ON_POLICY_FIELDS: dict[str, Field] = {
  "algorithm.name": one_of(ON_POLICY),
  "rollouts.family": one_of(tuple(sorted(envs.FAMILIES))),
  "rollouts.discount": Field(float, lambda value: 0.0 < value <= 1.0, "a number above 0 and at most 1"),
  "rollouts.episodes": at_least(1),
  "rollouts.inner_steps": at_least(1),
  "rollouts.tasks_per_update": at_least(1),
  "rollouts.horizon": at_least(1)._replace(optional=True),
  "rollouts.engine": one_of(get_args(Engine)),
  "evaluation.tasks": at_least(1),
  "evaluation.support_episodes": at_least(1),
  "evaluation.horizon": at_least(1)._replace(optional=True),
  "population.variants": Field(str, lambda value: True, "all, names in config.variants as 'maml,norml', or ''"),
  **{name: FIELDS[name] for name in SHARED_FIELDS},
}


def validate_on_policy(config: ml_collections.ConfigDict, *, starts: bool = True) -> None:
  """As `experiments.validation.validate`, for a run on episodes that it acts itself.

  Raises:
    ConfigurationError: with all that is wrong, one line each.
  """
  rules = RULES + START_RULES if starts else RULES
  check(config, ON_POLICY_FIELDS, rules, OnPolicyExamined(config), open_sections=("algorithm", "arms"))


class OnPolicyExamined:
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
    return problem_of(self.config, self.family)


def problem_of(config: ml_collections.ConfigDict, family: TaskFamily) -> Problem:
  """What an algorithm must know of a family."""
  return Problem(family.observation_size, family.action_size, len(family.train_tasks), config.rollouts.discount)


def _tasks_per_update(examined: OnPolicyExamined) -> Iterator[str]:
  wanted, num_tasks = examined.config.rollouts.tasks_per_update, len(examined.family.train_tasks)
  if wanted > num_tasks:
    yield (
      f"config.rollouts.tasks_per_update = {wanted}: family {examined.family.name!r} has {num_tasks} training tasks, "
      "and those of an update are distinct"
    )


def _evaluated_tasks(examined: OnPolicyExamined) -> Iterator[str]:
  wanted, num_tasks = examined.config.evaluation.tasks, len(examined.family.test_tasks)
  if wanted > num_tasks:
    yield f"config.evaluation.tasks = {wanted}: family {examined.family.name!r} has {num_tasks} test tasks"


def _horizon(examined: OnPolicyExamined, section: str) -> Iterator[str]:
  wanted, horizon = examined.config[section].horizon, examined.family.horizon
  if wanted is not None and wanted > horizon:
    yield (
      f"config.{section}.horizon = {wanted}: episodes of family {examined.family.name!r} have at most {horizon} steps"
    )


def _evaluated_episodes(examined: OnPolicyExamined) -> Iterator[str]:
  evaluation = examined.config.evaluation
  if evaluation.episodes > evaluation.support_episodes:
    yield (
      f"config.evaluation.episodes = {evaluation.episodes}: expected at most config.evaluation.support_episodes = "
      f"{evaluation.support_episodes}, the episodes that the agent before adaptation is judged by"
    )


def _arms(examined: OnPolicyExamined) -> Iterable[str]:
  """What is wrong with each arm, chosen or not; a value that is wrong in it alone, and values that are so together."""
  config = examined.config
  arms = config.get("arms", {})
  if not isinstance(arms, Mapping | ml_collections.ConfigDict):
    yield f"config.variants = {arms!r}: expected a section for each arm"
    return
  for name, arm in arms.items():
    place = f"config.variants.{name}"
    if not isinstance(arm, ml_collections.ConfigDict):
      yield f"{place} = {arm!r}: expected hyper-parameters, as {place}.learning_rate"
    else:
      yield from _values_of_arm(config, arm.to_dict(), place)


def _values_of_arm(config: ml_collections.ConfigDict, values: dict[str, Any], place: str) -> Iterator[str]:
  algorithm, of_algorithm = config.algorithm.name, hyperparameters(config)
  faults = hyperparameter_faults(algorithm, ANY_PROBLEM, of_algorithm | values, place)
  found = [line for name, line in faults.items() if name in values]
  found += [
    f"{place}.{name}: config.algorithm has no field {name!r}" for name in values if name not in of_algorithm | faults
  ]
  yield from found
  if not found and (refusal := refusal_of(algorithm, ANY_PROBLEM, of_algorithm | values)):
    yield f"{place} ({algorithm}): {refusal}"


def _chosen_arms(examined: OnPolicyExamined) -> Iterator[str]:
  config = examined.config
  arms = parse_arms(config)
  names = {arm: sorted(config.variants[arm]) for arm in arms}
  if len(set(map(tuple, names.values()))) > 1:
    for arm, of_arm in names.items():
      if missing := sorted(set().union(*names.values()) - set(of_arm)):
        yield f"config.population.variants: config.variants.{arm} lacks {', '.join(missing)}, which another of the arms has"
    return
  for name in differing_names(config, arms) if arms else ():
    untraced = [arm for arm in arms if not _can_be_traced(config, name, config.variants[arm][name])]
    if untraced:
      value = config.variants[untraced[0]][name]
      yield f"config.population.variants: {shared(f'arms.{untraced[0]}.{name}', value)}"


def _can_be_traced(config: ml_collections.ConfigDict, name: str, value: Any) -> bool:
  of_algorithm = hyperparameters(config) | {name: value}
  return isinstance(value, bool | int | float) and can_be_traced(config.algorithm.name, ANY_PROBLEM, of_algorithm, name)


_FAMILY = ("rollouts.family",)
_ARMS = ("population.variants", "population.grid", "algorithm", "training.steps")

RULES = (
  *(
    Rule((f"training.{name}", "training.log_every"), partial(divided_into_calls, name=name))
    for name in ("steps", "evaluate_every", "checkpoint_every")
  ),
  Rule((*_FAMILY, "rollouts.tasks_per_update"), _tasks_per_update, spoils="rollouts.tasks_per_update"),
  *(
    Rule((*_FAMILY, f"{section}.horizon"), partial(_horizon, section=section)) for section in ("rollouts", "evaluation")
  ),
  Rule((*_FAMILY, "evaluation.tasks"), _evaluated_tasks),
  Rule(("evaluation.episodes", "evaluation.support_episodes"), _evaluated_episodes),
  Rule((*_FAMILY, "rollouts.discount", "algorithm", "training.steps"), refused_by_algorithm),
  Rule(("seed", "population.seeds"), raised_by(lambda examined: check_seeds(examined.config)), "population.seeds"),
  Rule(("population.grid", "algorithm"), values_of_grid, spoils="population.grid"),
  Rule(("algorithm", "training.steps"), _arms, spoils="population.variants"),
  Rule(_ARMS, _chosen_arms, spoils="population.variants"),
  Rule(
    (*_ARMS, "seed", "population.seeds", "rollouts.tasks_per_update", "devices.seed", "devices.task"),
    lambda examined: undivided_axes(
      examined.config, examined.config.rollouts.tasks_per_update, "config.rollouts.tasks_per_update"
    ),
  ),
)
