"""Divide and conquer: a policy for each task, drawn towards those of the other tasks, and distilled into one.

Ghosh et al. 2018, "Divide-and-Conquer Reinforcement Learning" (arXiv:1711.09874). With D_i the episodes of task i, each
of N tasks minimises

  L_i = PPO on D_i + lambda / (N - 1) sum_{j != i} (mean over D_i + mean over D_j of D(pi_i, pi_j)) / 2
  D(p, q) = (KL(p || q) + KL(q || p)) / 2

where pi_j is held fixed. The central policy minimises KL(pi_i || pi_c) on the episodes of all tasks, and every R
updates all pi_i become pi_c.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from macaw_jax.algorithms.task_policies import (
  at_places,
  places,
  task_policies_learner,
)
from macaw_jax.hyperparameters import check_counts, check_not_negative, may_weigh
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.trials import check_settings
from macaw_jax.losses.task_policies import mean_over_pairs
from macaw_jax.networks.stochastic_policy import StochasticPolicy, stochastic_policy
from macaw_jax.objectives.ppo import Judged, TrialLoss, value_network
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem


def divergence_penalty(policy: StochasticPolicy, num_tasks: int, weight: float | Array) -> TrialLoss:
  """The sum over tasks i of weight times the mean over others j of D(pi_i, pi_j), on the states of both.

  It trains the part `policy`; of D(pi_i, pi_j) in the term of task i, the gradient is by pi_i alone.
  """

  def loss(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    own = at_places(net["policy"], places(episodes.steps.observation, num_tasks))
    features, mask = jnp.swapaxes(episodes.features, 0, 1), jnp.swapaxes(episodes.steps.mask, 0, 1)  # [T, E, H, ...]
    moved = jax.vmap(lambda params: policy.distribution(params, features))(own)  # [T, T, E, H, ...]  of i on D_j
    held = jax.lax.stop_gradient(moved)
    every = jnp.arange(len(mask))

    def between(i: Array, j: Array) -> tuple[Array, Array]:
      """D(pi_i, pi_j) on the steps of task i and on those of task j, [E, H] each."""

      def on(task: Array) -> Array:
        one = jax.tree.map(lambda leaf: leaf[i, task], moved)
        other = jax.tree.map(lambda leaf: leaf[j, task], held)
        return 0.5 * (policy.divergence(one, other) + policy.divergence(other, one))

      return on(i), on(j)

    on_first, on_second = jax.vmap(lambda i: jax.vmap(lambda j: between(i, j))(every))(every)  # [T, T, E, H]
    found = mean_over_pairs(on_first, on_second, mask)
    return weight * jnp.sum(found), {"divergence_between_tasks": jnp.mean(found)}

  return loss


def divide_and_conquer(
  problem: Problem,
  *,
  penalty: float = 0.01,
  restart_every: int = 25,
  hidden_sizes: Sequence[int] = (64,),
  lambda_: float = 0.95,
  clip: float = 0.2,
  entropy_weight: float = 0.05,
  value_weight: float = 0.5,
  initial_log_std: float = -0.5,
  learning_rate: float = 1e-3,
  distillation_learning_rate: float = 1e-3,
  max_gradient_norm: float = 0.5,
  epochs: int = 2,
  minibatches: int = 8,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Divide and conquer on tasks that it is told; its data are trajectories of all training tasks.

  Args:
    problem: Sizes, the discount, and whether actions are a choice. Observations end with one entry for each task.
    penalty: lambda, the weight of the divergences between the policies of tasks.
    restart_every: R, updates after which the policies of all tasks become the central one, and their optimisers begin
      anew; not after the last of `decay_steps`.
    hidden_sizes: Hidden layers of all policies and values.
    lambda_: Lambda of the generalised advantages.
    clip: Bound on how far the ratio to the behaviour policy counts from one.
    entropy_weight: Weight of the policies' entropies at the start; it falls to zero with the learning rate.
    value_weight: Weight of the squared error of the values.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    learning_rate: Of each task's policy and value.
    distillation_learning_rate: Of the central policy.
    max_gradient_norm: Bound on the norm of each task's gradient, and on that of the central policy.
    epochs: Passes over the episodes of an update.
    minibatches: Steps of a pass, each on episodes of all tasks.
    decay_steps: Updates over which the learning rates fall to zero on a line; None keeps them.
    optimizer: Makes an optimiser from its learning rate.
    gradient_surgery: How the gradients of the tasks' distillation become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_settings(
    hidden_sizes=hidden_sizes,
    lambda_=lambda_,
    clip=clip,
    value_weight=value_weight,
    initial_log_std=initial_log_std,
    learning_rate=learning_rate,
    max_gradient_norm=max_gradient_norm,
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
  )
  check_not_negative(
    penalty=penalty, entropy_weight=entropy_weight, distillation_learning_rate=distillation_learning_rate
  )
  check_counts(restart_every=restart_every)
  central = stochastic_policy(problem, problem.observation_size, hidden_sizes, initial_log_std=initial_log_std)
  own = central._replace(distribution=lambda params, features: central.distribution(params["own"], features))
  return task_policies_learner(
    problem,
    central=central,
    policy=own,
    value=value_network(problem.observation_size, hidden_sizes),
    lambda_=lambda_,
    clip=clip,
    entropy_weight=entropy_weight,
    value_weight=value_weight,
    learning_rate=learning_rate,
    distillation_learning_rate=distillation_learning_rate,
    max_gradient_norm=max_gradient_norm,
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
    optimizer=optimizer,
    gradient_surgery=gradient_surgery,
    penalty=divergence_penalty(central, problem.num_tasks, penalty) if may_weigh(penalty) else None,
    restart_every=restart_every,
  )
