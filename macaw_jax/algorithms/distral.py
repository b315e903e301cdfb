"""Distral: a policy for each task, held near a distilled policy that all tasks share.

Teh et al. 2017, "Distral: Robust Multitask Reinforcement Learning" (arXiv:1707.04175), with two columns:

  pi_i(a | s) proportional to pi_0(a | s)^alpha q_i(a | s)

pi_0 is the distilled policy and q_i what task i knows beside it. The paper writes softmax(alpha h + beta f_i), with h
the logits of pi_0; those of q_i are beta f_i here. Each task maximises the discounted sum of

  r + (alpha / beta) log pi_0(a | s) - (1 / beta) log pi_i(a | s)

by PPO on q_i, and pi_0 minimises KL(pi_i || pi_0) on the states of all tasks: the fit by maximum likelihood, which is
what the sum above has of pi_0. With c_KL = alpha / beta and c_Ent = (1 - alpha) / beta these are the paper's costs.
"""

from collections.abc import Sequence

import jax

from macaw_jax.algorithms.task_policies import (
  CENTRAL,
  at_places,
  places,
  task_policies_learner,
  without_task,
)
from macaw_jax.hyperparameters import check_finite, check_not_negative, check_positive, check_shares, check_sizes
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO, ppo
from macaw_jax.losses.task_policies import regularised_reward
from macaw_jax.networks.stochastic_policy import StochasticPolicy, stochastic_policy
from macaw_jax.objectives.ppo import value_network
from macaw_jax.types import ActionDistribution, Algorithm, Array, Params, Problem, Steps


def two_columns(policy: StochasticPolicy, alpha: float | Array) -> StochasticPolicy:
  """pi_i of the parameters `{CENTRAL: of pi_0, "own": of q_i}`; those of pi_0 have no gradient."""

  def distribution(params: dict[str, Params], features: Array) -> ActionDistribution | Array:
    central = policy.distribution(jax.lax.stop_gradient(params[CENTRAL]), features)
    return policy.product(central, policy.distribution(params["own"], features), alpha)

  return policy._replace(distribution=distribution)


def distral(
  problem: Problem,
  *,
  alpha: float = 0.5,
  beta: float = 200.0,
  hidden_sizes: Sequence[int] = (64,),
  initial_log_std: float = -0.5,
  ppo: PPO = ppo(entropy_weight=0.0),
  distillation_learning_rate: float = 1e-3,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Distral on tasks that it is told; its data are trajectories of all training tasks.

  Args:
    problem: Sizes, the discount, and whether actions are a choice. Observations end with one entry for each task.
    alpha: Share of the distilled policy in those of the tasks; with zero they learn alone, for the entropy.
    beta: Inverse temperature, in units of one over a reward.
    hidden_sizes: Hidden layers of all policies and values.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    ppo: Trains each task's policy and value, with a gradient norm of its own; its steps, optimiser, bound and decay are
      those of the distilled policy too. Its entropy has no weight, as the rewards hold the entropy: so `ppo` of other
      settings needs `entropy_weight=0.0` too.
    distillation_learning_rate: Of the distilled policy.
    gradient_surgery: How the gradients of the tasks' distillation become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_finite(initial_log_std=initial_log_std)
  check_shares(alpha=alpha)
  check_positive(beta=beta)
  check_not_negative(distillation_learning_rate=distillation_learning_rate)
  num_tasks = problem.num_tasks
  central = stochastic_policy(problem, problem.observation_size, hidden_sizes, initial_log_std=initial_log_std)
  policy = two_columns(central, alpha)

  def rewarded(net: Net, steps: Steps) -> Steps:
    """The steps with regularised rewards, those of steps that did not happen still zero."""
    own = at_places(net["policy"], places(steps.observation, num_tasks))

    def of_task(own: Params, steps: Steps) -> Array:
      features = without_task(steps.observation, num_tasks)
      mine = policy.distribution({CENTRAL: net[CENTRAL], "own": own}, features)
      distilled = central.distribution(net[CENTRAL], features)
      log_prob, central_log_prob = (policy.log_prob(each, steps.action) for each in (mine, distilled))
      return steps.mask * regularised_reward(steps.reward, log_prob, central_log_prob, alpha=alpha, beta=beta)

    return steps._replace(reward=jax.vmap(of_task, (0, 1), 1)(own, steps))

  return task_policies_learner(
    problem,
    central=central,
    policy=policy,
    value=value_network(problem.observation_size, hidden_sizes),
    ppo=ppo,
    distillation_learning_rate=distillation_learning_rate,
    gradient_surgery=gradient_surgery,
    rewarded=rewarded,
  )
