"""MACAW: meta actor-critic with advantage weighting.

Mitchell et al. 2021, "Offline Meta-Reinforcement Learning with Advantage Weighting", algorithm 1. With y a recorded
return, A(s, a) = y - V(s), w = min(exp(A' / temperature), max_weight) for A' = A standardised over a batch, and h the
policy's advantage head, all of y, A and w under a stop-gradient:

  L_V(V)        = mean (V(s) - y)^2
  L_AWR(pi, V)  = mean -w log pi(a | s)
  L_ADV(pi, V)  = mean (h(s, a) - A(s, a))^2

Adaptation, on a task's support:   V'  = V  - step sizes * grad L_V(V)
                                   pi' = pi - step sizes * grad [L_AWR(pi, V') + coefficient * L_ADV(pi, V')]
Meta-training, on its query:       (V, pi, step sizes, coefficient) minimise L_V(V') + L_AWR(pi', V')

with every gradient taken through adaptation. The released code and the paper differ; `macaw` names each difference
as an argument, and `RELEASED` is the set that repeats the released code.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import optax

from macaw_jax.adaptation import chain, gradient_step, tuning
from macaw_jax.adaptation.gradient_step import target_name
from macaw_jax.algorithms.by_data import chosen
from macaw_jax.hyperparameters import (
  check_counts,
  check_not_negative,
  check_positive,
  check_shares,
  check_sizes,
  inverse_softplus,
)
from macaw_jax.learners.gradient import RULE, MakeOptimizer, init_parts, learning_rate, meta_learner, optimize_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.policy import Policy, act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import add, advantage, advantage_weighted_regression, macaw_policy_loss, value_regression
from macaw_jax.objectives.policies import Advantage, MakePolicyLoss
from macaw_jax.objectives.values import MakeValueLoss, Target, make_target
from macaw_jax.types import Algorithm, Array, LossFn, Params, Problem

ADVANTAGE_COEFFICIENT = "raw_advantage_coefficient"

# The parts that each outer loss trains; every other gradient is exactly zero. A value step's own step sizes follow the
# value loss, the policy's and the advantage coefficient follow the policy loss.
TRAINS = {"value_loss": ("value",), "policy_loss": ("policy",)}

# The released code: the target network bootstraps the outer value target, the adapted value every advantage.
RELEASED: dict[str, Any] = {
  "inner_value_target": "monte_carlo",
  "outer_value_target": "bootstrapped",
  "advantage_target": "bootstrapped",
  "temperature": 1.0,
  "ema_decay": 0.9,
  "inner_value_step_size": 1e-3,
  "inner_policy_step_size": 1e-3,
  "value_learning_rate": 1e-5,
  "policy_learning_rate": 1e-4,
}


def learned_coefficient(params: dict[str, Params]) -> Array:
  """The weight of L_ADV, which is learned with the adaptation rule: positive, []."""
  return jax.nn.softplus(params[ADVANTAGE_COEFFICIENT])


def advantage_regularised(policy: Policy, advantage: Advantage, *, temperature: float, max_weight: float) -> LossFn:
  """L_AWR + coefficient * L_ADV with the learned coefficient; L_AWR alone for a policy without an advantage head."""
  if policy.advantage is None:
    return advantage_weighted_regression(policy, advantage, temperature=temperature, max_weight=max_weight)
  return macaw_policy_loss(policy, advantage, learned_coefficient, temperature=temperature, max_weight=max_weight)


def macaw(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "weight_transform",
  standard_deviation: float = 0.2,
  advantage_coefficient: float | None = 0.01,
  relu_action: bool = True,
  adaptation_steps: int = 1,
  inner_value_step_size: float = 0.01,
  inner_policy_step_size: float = 0.01,
  learn_step_sizes: bool = True,
  first_order: bool = False,
  inner_value_target: str | None = None,
  outer_value_target: str | None = None,
  advantage_target: str | None = None,
  lambda_: float = 0.95,
  ema_decay: float | None = None,
  temperature: float | None = None,
  max_weight: float = 20.0,
  matmul_precision: str = "float32",
  remat: str = "nothing",
  value_learning_rate: float = 3e-4,
  policy_learning_rate: float = 3e-4,
  rule_learning_rate: float = 1e-3,
  decay_steps: int | None = None,
  fine_tune_value_learning_rate: float | None = None,
  fine_tune_policy_learning_rate: float | None = None,
  inner_value_loss: MakeValueLoss = value_regression,
  inner_policy_loss: MakePolicyLoss = advantage_regularised,
  outer_value_loss: MakeValueLoss = value_regression,
  outer_policy_loss: MakePolicyLoss = advantage_weighted_regression,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """MACAW.

  Args:
    problem: Sizes and discount of the data.
    hidden_sizes: Hidden layers of policy and value.
    layer: 'weight_transform', 'bias_transform' or 'dense'.
    standard_deviation: Standard deviation of the policy.
    advantage_coefficient: Initial weight of the advantage regression, which is learned; None drops it and the head.
    relu_action: Whether the head sees only positive action components, as in the released code.
    adaptation_steps: K, each on its own share of the support.
    inner_value_step_size: Initial step size of the value's adaptation.
    inner_policy_step_size: Initial step size of the policy's adaptation.
    learn_step_sizes: Whether step sizes are learned, one for each array.
    first_order: Whether meta-gradients ignore how inner gradients depend on the parameters.
    inner_value_target: 'monte_carlo' (the paper), 'bootstrapped' at the episode's end, or 'td_lambda', which needs
      consecutive rows. None follows the data, here and where it says so below (`algorithms.by_data`).
    outer_value_target: Likewise, None too; the released code bootstraps it.
    advantage_target: Likewise, None too; the released code bootstraps it.
    lambda_: Lambda of TD(lambda).
    ema_decay: EMA decay of the value's target network, from which value targets bootstrap; None bootstraps from the
      value itself.
    temperature: Temperature of the advantage weights. None follows the data.
    max_weight: Upper bound of an advantage weight.
    matmul_precision: 'float32' or 'bfloat16', to which layers round inputs and weights before they multiply them
      (`networks.products`); parameters, sums, losses and optimisers stay in float32.
    remat: 'nothing' or 'inner_steps', which are then computed again in the backward pass: less of them is kept, but on
      a CPU memory is saved only with a compiler option (`adaptation.gradient_step`).
    value_learning_rate: Outer learning rate of the value network.
    policy_learning_rate: Outer learning rate of the policy.
    rule_learning_rate: Outer learning rate of the step sizes and of the advantage coefficient.
    decay_steps: Updates over which the learning rates fall to zero (`learners.gradient.learning_rate`), if not None.
    fine_tune_value_learning_rate: Of an agent that goes on learning in a new task, from its own episodes, by the outer
      losses. None follows the data.
    fine_tune_policy_learning_rate: Likewise.
    inner_value_loss: `(value, target) -> loss` of the value's adaptation.
    inner_policy_loss: `(policy, advantage, temperature=, max_weight=) -> loss` of the policy's adaptation.
    outer_value_loss: As inner_value_loss, of meta-training.
    outer_policy_loss: As inner_policy_loss, of meta-training.
    optimizer: Makes a part's optimiser from its learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range; in `update` and `adapt`, for a support that adaptation_steps does not
      divide.
  """
  check_counts(adaptation_steps=adaptation_steps, decay_steps=decay_steps)
  check_positive(inner_value_step_size=inner_value_step_size, inner_policy_step_size=inner_policy_step_size)
  rates = {"value": value_learning_rate, "policy": policy_learning_rate, RULE: rule_learning_rate}
  fine_tuning_rates = {
    "value": chosen(problem, "fine_tune_value_learning_rate", fine_tune_value_learning_rate),
    "policy": chosen(problem, "fine_tune_policy_learning_rate", fine_tune_policy_learning_rate),
  }
  check_not_negative(**{f"{part}_learning_rate": rate for part, rate in rates.items()})
  check_not_negative(**{f"fine_tune_{part}_learning_rate": rate for part, rate in fine_tuning_rates.items()})
  check_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_, ema_decay=0.0 if ema_decay is None else ema_decay)
  inner_value_target = chosen(problem, "inner_value_target", inner_value_target)
  outer_value_target = chosen(problem, "outer_value_target", outer_value_target)
  advantage_target = chosen(problem, "advantage_target", advantage_target)
  temperature = chosen(problem, "temperature", temperature)
  policy = gaussian_policy(
    problem.observation_size,
    problem.action_size,
    hidden_sizes,
    layer=layer,
    matmul_precision=matmul_precision,
    standard_deviation=standard_deviation,
    advantage_head=advantage_coefficient is not None,
    relu_action=relu_action,
  )
  value = value_network(problem.observation_size, hidden_sizes, layer=layer, matmul_precision=matmul_precision)

  def target(name: str, part: str = "value") -> Target:
    return make_target(name, value, part=part, discount=problem.discount, lambda_=lambda_)

  bootstrap_part = "value" if ema_decay is None else target_name("value")
  advantages = advantage(value, target(advantage_target))
  weighting = {"temperature": temperature, "max_weight": max_weight}
  learned = {}
  if advantage_coefficient is not None:
    learned = {ADVANTAGE_COEFFICIENT: inverse_softplus(advantage_coefficient)}
  inner_step = functools.partial(
    gradient_step,
    learn_step_size=learn_step_sizes,
    steps=adaptation_steps,
    first_order=first_order,
    remat=remat,
  )
  adaptation = chain(
    inner_step(
      inner_value_loss(value, target(inner_value_target, bootstrap_part)),
      on="value",
      step_size=inner_value_step_size,
      ema_decay=ema_decay,
    ),
    inner_step(
      inner_policy_loss(policy, advantages, **weighting),
      on="policy",
      step_size=inner_policy_step_size,
      learned=learned,
    ),
  )
  outer_losses = {
    "value": outer_value_loss(value, target(outer_value_target, bootstrap_part)),
    "policy": outer_policy_loss(policy, advantages, **weighting),
  }
  algorithm = meta_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init}),
    adaptation=adaptation,
    outer_loss=add(*outer_losses.values()),
    optimizer=optimize_parts({part: optimizer(learning_rate(rate, decay_steps)) for part, rate in rates.items()}),
    act=act_with(policy),
    gradient_surgery=gradient_surgery,
  )
  return algorithm._replace(
    support_parts=adaptation_steps,
    consecutive_rows="td_lambda" in (inner_value_target, outer_value_target, advantage_target),
    value_losses={"value_loss": 1.0},
    tuning=tuning(outer_losses, {part: optimizer(rate) for part, rate in fine_tuning_rates.items()}),
  )
