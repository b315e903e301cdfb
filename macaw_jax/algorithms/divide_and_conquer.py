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

from macaw_jax.algorithms.task_policies import (
  at_places,
  places,
  task_policies_learner,
)
from macaw_jax.hyperparameters import check_counts, check_finite, check_not_negative, check_sizes, may_weigh
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO, ppo
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
  restart_every: int = 50,
  hidden_sizes: Sequence[int] = (64,),
  initial_log_std: float = -0.5,
  ppo: PPO = ppo(),
  distillation_learning_rate: float = 1e-3,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Divide and conquer on tasks that it is told; its data are trajectories of all training tasks.

  Args:
    problem: Sizes, the discount, and whether actions are a choice. Observations end with one entry for each task.
    penalty: lambda, the weight of the divergences between the policies of tasks.
    restart_every: R, updates after which the policies of all tasks become the central one, and their optimisers begin
      anew; not after the last of `ppo.decay_steps`.
    hidden_sizes: Hidden layers of all policies and values.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    ppo: Trains each task's policy and value, with a gradient norm of its own; its steps, optimiser, bound and decay are
      those of the central policy too.
    distillation_learning_rate: Of the central policy.
    gradient_surgery: How the gradients of the tasks' distillation become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_finite(initial_log_std=initial_log_std)
  check_not_negative(penalty=penalty, distillation_learning_rate=distillation_learning_rate)
  check_counts(restart_every=restart_every)
  central = stochastic_policy(problem, problem.observation_size, hidden_sizes, initial_log_std=initial_log_std)
  own = central._replace(distribution=lambda params, features: central.distribution(params["own"], features))
  return task_policies_learner(
    problem,
    central=central,
    policy=own,
    value=value_network(problem.observation_size, hidden_sizes),
    ppo=ppo,
    distillation_learning_rate=distillation_learning_rate,
    gradient_surgery=gradient_surgery,
    penalty=divergence_penalty(central, problem.num_tasks, penalty) if may_weigh(penalty) else None,
    restart_every=restart_every,
  )
