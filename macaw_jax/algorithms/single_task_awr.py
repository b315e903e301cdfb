"""Single-task AWR: a new task is learned from its support alone, from scratch. The baseline without meta-training.

Training:                     nothing is learned; the metrics are the losses of the initial networks on the queries
A new task, on its support:   n rounds of one optimiser step on L_V(V) and then one on L_AWR(pi, V), from the initial
                              values of the networks

with L_V and L_AWR of `macaw_jax.algorithms.macaw` (Peng et al. 2019, arXiv:1910.00177). It is what meta-training has to
beat: with as many steps as a meta-trained agent takes it shows what these are worth, with many what the support holds.
"""

import functools
from collections.abc import Sequence

import optax

from macaw_jax.adaptation import fine_tune, identity, tuning
from macaw_jax.algorithms.by_data import chosen
from macaw_jax.hyperparameters import check_counts, check_not_negative, check_shares, check_sizes
from macaw_jax.learners.gradient import MakeOptimizer, init_parts, meta_learner
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import add, advantage, advantage_weighted_regression, value_regression
from macaw_jax.objectives.policies import MakePolicyLoss
from macaw_jax.objectives.values import MakeValueLoss, make_target
from macaw_jax.types import Algorithm, Problem


def single_task_awr(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "dense",
  standard_deviation: float = 0.2,
  value_target: str = "monte_carlo",
  advantage_target: str = "monte_carlo",
  lambda_: float = 0.95,
  temperature: float | None = None,
  max_weight: float = 20.0,
  adaptation_steps: int = 20,
  value_learning_rate: float = 1e-3,
  policy_learning_rate: float = 1e-3,
  value_loss: MakeValueLoss = value_regression,
  policy_loss: MakePolicyLoss = advantage_weighted_regression,
  optimizer: MakeOptimizer = optax.adam,
) -> Algorithm:
  """Single-task AWR, from scratch on each new task.

  Args:
    problem: Sizes and discount of the data.
    hidden_sizes: Hidden layers of policy and value.
    layer: 'dense', 'bias_transform' or 'weight_transform'.
    standard_deviation: Standard deviation of the policy.
    value_target: 'monte_carlo', 'bootstrapped', or 'td_lambda' on consecutive rows.
    advantage_target: Likewise.
    lambda_: Lambda of TD(lambda).
    temperature: Temperature of the advantage weights. None follows the data (`algorithms.by_data`).
    max_weight: Upper bound of an advantage weight.
    adaptation_steps: Rounds on a new task.
    value_learning_rate: Of the value network.
    policy_learning_rate: Of the policy.
    value_loss: `(value, target) -> loss`.
    policy_loss: `(policy, advantage, temperature=, max_weight=) -> loss`.
    optimizer: Makes an optimiser from a learning rate.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_)
  check_counts(adaptation_steps=adaptation_steps)
  check_not_negative(value_learning_rate=value_learning_rate, policy_learning_rate=policy_learning_rate)
  temperature = chosen(problem, "temperature", temperature)
  policy = gaussian_policy(
    problem.observation_size, problem.action_size, hidden_sizes, layer=layer, standard_deviation=standard_deviation
  )
  value = value_network(problem.observation_size, hidden_sizes, layer=layer)
  target = functools.partial(make_target, value=value, discount=problem.discount, lambda_=lambda_)
  losses = {
    "value": value_loss(value, target(value_target)),
    "policy": policy_loss(
      policy, advantage(value, target(advantage_target)), temperature=temperature, max_weight=max_weight
    ),
  }
  optimizers = {"value": optimizer(value_learning_rate), "policy": optimizer(policy_learning_rate)}
  algorithm = meta_learner(
    init_net=init_parts({"value": value.init, "policy": policy.init}),
    adaptation=identity(),
    outer_loss=add(*losses.values()),
    optimizer=optax.set_to_zero(),
    act=act_with(policy),
    test_adaptation=fine_tune(losses, optimizers, steps=adaptation_steps),
  )
  return algorithm._replace(
    consecutive_rows="td_lambda" in (value_target, advantage_target), tuning=tuning(losses, optimizers)
  )
