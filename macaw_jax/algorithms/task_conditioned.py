"""The shared part of multi-task actor-critics: observations show the task, and nothing adapts.

The state with the task's numbers behind it is that of one larger problem, s~ = (s, w), whose tasks differ in nothing
but where their episodes begin: ordinary actor-critics solve it. Families and data show tasks as the variants
`+task_vector` and `+task_index` do (`macaw_jax.envs.variants`).
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from macaw_jax.actor_critics import MakeActorCritic
from macaw_jax.adaptation import identity
from macaw_jax.hyperparameters import check_counts, check_not_negative
from macaw_jax.learners.context import ContextLearner, Net, context_learner, on_rows, queries_with
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient import learning_rate as rate_of
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.types import LATENT, Algorithm, Array, Key, Params, Problem, TaskBatch, TimeStep, no_prior


def task_conditioned(
  problem: Problem,
  actor_critic: MakeActorCritic,
  *,
  learning_rate: float,
  decay_steps: int | None,
  optimizer: MakeOptimizer,
  gradient_surgery: GradientSurgery | None,
) -> Algorithm:
  """An actor-critic without a latent, on the queries of a batch; supports are not read, and `adapt` gives `{}`.

  Args:
    problem: Sizes and discount of the data; observations have the task's numbers already.
    actor_critic: Learns to act.
    learning_rate: Of all its parts but those that have a rate of their own.
    decay_steps: Updates over which it falls to zero (`learners.gradient.learning_rate`), if not None.
    optimizer: Makes a part's optimiser from its learning rate.
    gradient_surgery: How, of each loss, the gradients of tasks become one; None for that of the batch. Parts that each
      task has for itself, as temperatures, keep theirs.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_not_negative(learning_rate=learning_rate)
  check_counts(decay_steps=decay_steps)
  agent = actor_critic(problem, 0)

  def no_latents(net: Net, tasks: TaskBatch, key: Key) -> Array:
    return jnp.zeros((tasks.task_index.shape[0], 0))

  def act(params: Net, timestep: TimeStep, key: Key | None) -> Array:
    return agent.act(params | {LATENT: jnp.zeros((0,))}, timestep, key)

  algorithm = context_learner(
    ContextLearner(
      init=agent.init,
      encoder=identity(),
      prior=lambda net, key: {},
      losses={name: on_rows(loss, queries_with(no_latents)) for name, loss in agent.losses.items()},
      trains=agent.trains,
      targets=agent.targets,
      tau=agent.tau,
      follows={name: _projected(name, project) for name, project in agent.project.items()},
      act=act,
      separable=tuple(name for name in agent.losses if name not in agent.own_gradients),
      gradient_surgery=gradient_surgery,
    ),
    {name: optimizer(rate_of(learning_rate, decay_steps)) for name in agent.init}
    | {name: optax.sgd(rate) for name, rate in agent.learning_rates.items()},
  )
  return algorithm._replace(prior=no_prior, value_losses=agent.value_losses, adapts=False)


def _projected(name: str, project: Callable[[Params], Params]) -> Callable[[Net, TaskBatch, Key], Params]:
  return lambda net, tasks, key: project(net[name])
