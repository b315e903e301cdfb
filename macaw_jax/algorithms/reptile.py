"""Reptile for reinforcement learning: a step towards the adapted parameters, without differentiating through them.

Nichol et al. 2018, "On First-Order Meta-Learning Algorithms", algorithm 1. With theta_{i,K} the policy of task i after
its K inner steps, each on episodes of its own, an update follows the pseudo-gradient of `reptile_gradient`,

  theta - mean_i theta_{i,K}

by SGD of learning rate beta: theta <- theta + beta mean_i (theta_{i,K} - theta). There is no outer loss. With K = 1
this is joint training on all tasks, and no meta-learning.
"""

import optax

from macaw_jax.algorithms.policy_gradient_inner import MakeInner, policy_gradient_inner
from macaw_jax.hyperparameters import check_counts, check_not_negative
from macaw_jax.learners.gradient import MakeOptimizer, init_parts, learner, linear_decay, reptile_gradient
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.gaussian import act_with_gaussian
from macaw_jax.types import Algorithm, Problem


def reptile(
  problem: Problem,
  *,
  inner: MakeInner = policy_gradient_inner(),
  learning_rate: float = 1.0,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.sgd,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Reptile.

  Its data are trajectories with rewards. A query is not read: the episodes that `sources.on_policy` collects for it
  only tell how the adapted policy does.

  Args:
    problem: Sizes; discount of returns and advantages.
    inner: The policy and its inner steps; their step size stays.
    learning_rate: beta; how much of the way to the mean adapted policy an update goes.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    optimizer: Makes the optimiser from its learning rate.
    gradient_surgery: How the pseudo-gradients of tasks become one (`learners.gradient_surgery`); None for their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_counts(decay_steps=decay_steps)
  check_not_negative(learning_rate=learning_rate)
  _, policy, _, adaptation = inner(problem)
  return learner(
    init_net=init_parts({"policy": policy.init}),
    adaptation=adaptation,
    meta_gradient=reptile_gradient(adaptation, gradient_surgery),
    optimizer=optimizer(linear_decay(learning_rate, decay_steps)),
    act=act_with_gaussian(policy),
  )
