"""Runs on episodes of the present policy: the rules for their configurations, and the parts that they are made into."""

from collections.abc import Iterator
from functools import partial

from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.envs.engines import require_compiled_physics
from macaw_jax.envs.names import directory_name, parse_name
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.evaluation.evaluate import Split
from macaw_jax.evaluation.evaluate import on_policy as evaluate_on_policy
from macaw_jax.sources.on_policy import collecting, on_policy
from macaw_jax.types import Algorithm

from .configuration import ON_POLICY_FIELDS, settings_of
from .recorded import evenly_spaced
from .replayed import InFamily, at_most, family_rule, num_train_tasks, split_of
from .validation import Kind, Parts, Rule, member_rules, refused_by_algorithm


def _evaluated_episodes(examined: InFamily) -> Iterator[str]:
  evaluation = examined.config.evaluation
  if evaluation.episodes > evaluation.support_episodes:
    yield (
      f"config.evaluation.episodes = {evaluation.episodes}: expected at most config.evaluation.support_episodes = "
      f"{evaluation.support_episodes}, the episodes that the agent before adaptation is judged by"
    )


def _episodes_of_trials(examined: InFamily) -> Iterator[str]:
  """Faults of an agent that remembers, whose episodes follow each other, or of one that does not."""
  config = examined.config
  name, rollouts = config.algorithm.name, config.rollouts
  algorithm = make_algorithm(name, examined.problem, settings_of(config))
  remembers = algorithm.remembers
  if algorithm.adapts and not remembers and rollouts.inner_steps == 0:
    yield f"config.rollouts.inner_steps = 0: expected at least 1, {name} learns a task by steps alone"
  for field, value in (("rollouts", rollouts.episodes), ("evaluation.support", config.evaluation.support_episodes)):
    if remembers and value != 1:
      separator = "_" if field.startswith("evaluation") else "."
      yield f"config.{field}{separator}episodes = {value}: expected 1, {name} remembers one episode after the other"


def _policies_of_tasks(examined: InFamily) -> Iterator[str]:
  """Faults of tasks of which an agent is to have a policy each."""
  config, family = examined.config, examined.family
  name, wanted = config.algorithm.name, config.rollouts.tasks_per_update
  if not make_algorithm(name, examined.problem, settings_of(config)).reads_task_index:
    return
  if parse_name(family.name).variants[-1:] != ("task_index",):
    yield (
      f"config.rollouts.family = {family.name!r}: expected a family whose observations end with the task, as "
      f"'{family.name}+task_index', {name} has a policy for each"
    )
  elif set(family.train_tasks) != set(range(family.num_tasks)):
    yield (
      f"config.rollouts.family = {family.name!r}: expected a family whose tasks are all to train on, {name} has a "
      "policy for each"
    )
  elif wanted != len(family.train_tasks):
    yield (
      f"config.rollouts.tasks_per_update = {wanted}: expected {len(family.train_tasks)}, all training tasks: {name} "
      "has a policy for each"
    )


def _minibatches(examined: InFamily) -> Iterator[str]:
  """Fewer trials in an update than the steps that it is cut into: one of a task, or each episode of a known task."""
  config = examined.config
  rollouts, minibatches = config.rollouts, config.algorithm.get("ppo", {}).get("minibatches", 1)
  episodes = rollouts.episodes * (1 + rollouts.inner_steps)
  if make_algorithm(config.algorithm.name, examined.problem, settings_of(config)).remembers:
    if examined.tasks_per_update < minibatches:
      yield (
        f"config.rollouts.tasks_per_update = {examined.tasks_per_update}: expected at least "
        f"config.algorithm.ppo.minibatches = {minibatches}, each of which has a task"
      )
  elif episodes < minibatches:
    yield (
      f"config.rollouts.episodes = {rollouts.episodes}: expected at least config.algorithm.ppo.minibatches = "
      f"{minibatches}, each of which has an episode of every task"
    )


_STEPS = "episodes of family {family!r} have at most {limit} steps"

RULES = (
  family_rule("rollouts"),
  Rule(("rollouts.family",), lambda examined: require_compiled_physics(examined.family), spoils="rollouts.family"),
  at_most(
    "rollouts",
    "rollouts.tasks_per_update",
    num_train_tasks,
    "family {family!r} has {limit} training tasks, and those of an update are distinct",
  ),
  at_most("rollouts", "rollouts.horizon", lambda family: family.horizon, _STEPS),
  at_most("rollouts", "evaluation.horizon", lambda family: family.horizon, _STEPS),
  at_most(
    "rollouts", "evaluation.tasks", lambda family: len(family.test_tasks), "family {family!r} has {limit} test tasks"
  ),
  Rule(("evaluation.episodes", "evaluation.support_episodes"), _evaluated_episodes),
  Rule(
    ("rollouts.family", "rollouts.discount", "algorithm", "training.steps"), refused_by_algorithm, spoils="algorithm"
  ),
  Rule(
    ("rollouts.family", "rollouts.episodes", "rollouts.inner_steps", "evaluation.support_episodes", "algorithm"),
    _episodes_of_trials,
  ),
  Rule(("rollouts.family", "rollouts.tasks_per_update", "algorithm"), _policies_of_tasks),
  Rule(
    ("rollouts.family", "rollouts.tasks_per_update", "rollouts.episodes", "rollouts.inner_steps", "algorithm"),
    _minibatches,
  ),
  *member_rules("rollouts.tasks_per_update", call="log_every"),
)


def assemble(examined: InFamily, train: Split | None = None) -> Parts:
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
  examine=partial(InFamily, section="rollouts", tasks_from="rollouts"),
  assemble=assemble,
  data_name=lambda config: directory_name(config.rollouts.family),
  call="log_every",
  may_change=("training.steps",),
)
