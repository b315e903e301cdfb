"""Multi-task AWR with fine-tuning: the offline multi-task baseline of Mitchell et al. 2021.

Training, on each task's query:   (V, pi) minimise L_V(V) + L_AWR(pi, V), the task in the observation
A new task, on its support:       n rounds of one optimiser step on L_V(V) and then one on L_AWR(pi, V)

with L_V and L_AWR of `macaw_jax.algorithms.macaw`. The released baseline bootstraps the advantage at the
episode's end, and not the value target.
"""

import functools
from collections.abc import Sequence

import optax

from macaw_jax.algorithms.by_data import chosen
from macaw_jax.algorithms.multitask import multitask_learner, observation_size
from macaw_jax.hyperparameters import check_shares, check_sizes
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import advantage, advantage_weighted_regression, value_regression
from macaw_jax.objectives.policies import MakePolicyLoss
from macaw_jax.objectives.values import MakeValueLoss, make_target
from macaw_jax.types import Algorithm, Problem


def multitask_awr(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "bias_transform",
  standard_deviation: float = 0.2,
  value_target: str | None = None,
  advantage_target: str | None = None,
  lambda_: float = 0.95,
  temperature: float | None = None,
  max_weight: float = 20.0,
  task_dropout: float = 0.0,
  value_learning_rate: float = 3e-4,
  policy_learning_rate: float = 3e-4,
  decay_steps: int | None = None,
  adaptation_steps: int = 20,
  fine_tune_value_learning_rate: float | None = None,
  fine_tune_policy_learning_rate: float | None = None,
  value_loss: MakeValueLoss = value_regression,
  policy_loss: MakePolicyLoss = advantage_weighted_regression,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Multi-task AWR with fine-tuning.

  Args:
    problem: Sizes and discount of the data.
    hidden_sizes: Hidden layers of policy and value.
    layer: 'bias_transform' as released, 'dense' or 'weight_transform'.
    standard_deviation: Standard deviation of the policy.
    value_target: 'monte_carlo', 'bootstrapped', or 'td_lambda' on consecutive rows. None follows the data, here and
      where it says so below (`algorithms.by_data`).
    advantage_target: Likewise, None too.
    lambda_: Lambda of TD(lambda).
    temperature: Temperature of the advantage weights. None follows the data.
    max_weight: Upper bound of an advantage weight.
    task_dropout: Probability that a training task hides its task vector, so that the zeros of a new task are known.
    value_learning_rate: In training.
    policy_learning_rate: In training.
    decay_steps: Updates over which the learning rates of training fall to zero; None keeps them.
    adaptation_steps: Rounds on a new task.
    fine_tune_value_learning_rate: On a new task. None follows the data.
    fine_tune_policy_learning_rate: On a new task. None follows the data.
    value_loss: `(value, target) -> loss`.
    policy_loss: `(policy, advantage, temperature=, max_weight=) -> loss`.
    optimizer: Makes an optimiser from a learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_)
  value_target = chosen(problem, "value_target", value_target)
  advantage_target = chosen(problem, "advantage_target", advantage_target)
  temperature = chosen(problem, "temperature", temperature)
  fine_tuning_rates = {
    "value": chosen(problem, "fine_tune_value_learning_rate", fine_tune_value_learning_rate),
    "policy": chosen(problem, "fine_tune_policy_learning_rate", fine_tune_policy_learning_rate),
  }
  policy = gaussian_policy(
    observation_size(problem), problem.action_size, hidden_sizes, layer=layer, standard_deviation=standard_deviation
  )
  value = value_network(observation_size(problem), hidden_sizes, layer=layer)
  target = functools.partial(make_target, value=value, discount=problem.discount, lambda_=lambda_)
  advantages = advantage(value, target(advantage_target))
  algorithm = multitask_learner(
    problem,
    init={"value": value.init, "policy": policy.init},
    losses={  # Each part by its own loss alone: no gradient of the policy's loss reaches the value network.
      "value": value_loss(value, target(value_target)),
      "policy": policy_loss(policy, advantages, temperature=temperature, max_weight=max_weight),
    },
    act=act_with(policy),
    learning_rates={"value": value_learning_rate, "policy": policy_learning_rate},
    fine_tune_learning_rates=fine_tuning_rates,
    decay_steps=decay_steps,
    adaptation_steps=adaptation_steps,
    task_dropout=task_dropout,
    optimizer=optimizer,
    gradient_surgery=gradient_surgery,
  )
  return algorithm._replace(
    consecutive_rows="td_lambda" in (value_target, advantage_target), value_losses={"value_loss": 1.0}
  )
