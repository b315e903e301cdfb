"""MACAW: meta actor-critic with advantage weighting.

Mitchell et al. 2021, "Offline Meta-Reinforcement Learning with Advantage Weighting", algorithm 1.

Adaptation, on a task's support:   V'  = V  - step sizes * grad L_V(V)
                                   pi' = pi - step sizes * grad [L_AWR(pi, V') + coefficient * L_ADV(pi, V')]
Meta-training, on its query:       (V, pi, step sizes, coefficient) descend L_V(V') + L_AWR(pi', V')

with every gradient taken through adaptation. The released code and the paper differ; `macaw` names each difference
as an argument, and `RELEASED` is the set that repeats the released code.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax

from macaw_jax.adaptation import chain, gradient_step
from macaw_jax.adaptation.gradient_step import target_name
from macaw_jax.algorithms.arguments import (
  check_hidden_sizes,
  check_learning_rates,
  check_shares,
  passes_arguments_to,
)
from macaw_jax.hyperparameters import inverse_softplus
from macaw_jax.learners.gradient import RULE, MakeOptimizer, init_parts, learning_rate, meta_learner, optimize_parts
from macaw_jax.losses import (
  add,
  advantage_of,
  advantage_weighted_regression,
  macaw_policy_loss,
  value_regression,
)
from macaw_jax.losses.values import Target, make_target
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.types import Adaptation, Algorithm, Array, Key, LossFn, Params, Problem, TimeStep

ADVANTAGE_COEFFICIENT = "raw_advantage_coefficient"

# Which outer loss trains which part; every other gradient is exactly zero. A value step's own step sizes follow the
# value loss, the policy's and the advantage coefficient follow the policy loss.
TRAINS = {"value_loss": ("value",), "policy_loss": ("policy",)}

# The released code: the slow copy bootstraps the outer value target, the adapted value every advantage.
RELEASED = {
  "outer_value_target": "bootstrapped",
  "advantage_target": "bootstrapped",
  "ema_decay": 0.9,
  "inner_value_step_size": 1e-3,
  "inner_policy_step_size": 1e-3,
  "value_learning_rate": 1e-5,
  "policy_learning_rate": 1e-4,
}


class Objective(NamedTuple):
  """What MACAW learns and by what it is judged, before an optimiser is chosen."""

  init_net: Callable[[Key], dict[str, Params]]
  adaptation: Adaptation
  value_loss: LossFn
  policy_loss: LossFn
  act: Callable[[dict[str, Params], TimeStep, Key | None], Array]


def objective(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "weight_transform",
  standard_deviation: float = 0.2,
  advantage_coefficient: float | None = 0.01,
  relu_action: bool = True,
  inner_steps: int = 1,
  inner_value_step_size: float = 0.01,
  inner_policy_step_size: float = 0.01,
  learn_step_sizes: bool = True,
  first_order: bool = False,
  inner_value_target: str = "monte_carlo",
  outer_value_target: str = "monte_carlo",
  advantage_target: str = "monte_carlo",
  lambda_: float = 0.95,
  ema_decay: float | None = None,
  temperature: float = 1.0,
  max_weight: float = 20.0,
  matmul_precision: str = "float32",
  remat: str = "nothing",
) -> Objective:
  """The parts of MACAW; see `macaw` for the arguments."""
  check_hidden_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_, **({} if ema_decay is None else {"ema_decay": ema_decay}))
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
  advantage = advantage_of(value, target(advantage_target))
  weighting: dict[str, Any] = {"temperature": temperature, "max_weight": max_weight}
  policy_loss = advantage_weighted_regression(policy, advantage, **weighting)

  inner_policy_loss, learned = policy_loss, {}
  if advantage_coefficient is not None:
    learned = {ADVANTAGE_COEFFICIENT: inverse_softplus(advantage_coefficient)}
    inner_policy_loss = macaw_policy_loss(
      policy, advantage, lambda params: jax.nn.softplus(params[ADVANTAGE_COEFFICIENT]), **weighting
    )
  inner_step = functools.partial(
    gradient_step,
    learn_step_size=learn_step_sizes,
    steps=inner_steps,
    first_order=first_order,
    remat=remat,
  )
  adaptation = chain(
    inner_step(
      value_regression(value, target(inner_value_target, bootstrap_part)),
      on="value",
      step_size=inner_value_step_size,
      ema_decay=ema_decay,
    ),
    inner_step(inner_policy_loss, on="policy", step_size=inner_policy_step_size, learned=learned),
  )

  init_net = init_parts({"policy": policy.init, "value": value.init})
  outer_value_loss = value_regression(value, target(outer_value_target, bootstrap_part))
  return Objective(init_net, adaptation, outer_value_loss, policy_loss, act_with(policy))


@passes_arguments_to(objective)
def macaw(
  problem: Problem,
  *,
  value_learning_rate: float = 3e-4,
  policy_learning_rate: float = 3e-4,
  rule_learning_rate: float = 1e-3,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  **arguments: Any,
) -> Algorithm:
  """MACAW.

  Args:
    problem: Sizes and discount of the data.
    value_learning_rate: Outer learning rate of the value network.
    policy_learning_rate: Outer learning rate of the policy.
    rule_learning_rate: Outer learning rate of the step sizes and of the advantage coefficient.
    decay_steps: Updates over which the learning rates fall to zero (`meta_learner.learning_rate`); None keeps them.
    optimizer: Makes a part's optimiser from its learning rate.
    **arguments: Those of `objective`:
      hidden_sizes, layer ('weight_transform', 'bias_transform', 'dense'), standard_deviation of the policy;
      advantage_coefficient, initial weight of the advantage regression, learned; None drops it and the head;
      relu_action, whether the head sees only positive action components, as in the released code;
      inner_steps K, each on its share of the support; the initial step sizes inner_value_step_size and
      inner_policy_step_size, learned per array unless learn_step_sizes is False; first_order;
      inner_value_target, outer_value_target, advantage_target: 'monte_carlo' (the paper), 'bootstrapped' (the
      released code bootstraps the last two at the episode's end) or 'td_lambda' with lambda_, which needs
      consecutive rows; ema_decay of the slow value copy that value targets bootstrap from, None for the value
      network itself; temperature and max_weight of the advantage weights;
      matmul_precision, 'float32' or 'bfloat16': the precision to which layers round inputs and weights before they
      multiply them (`networks.products`); parameters, sums, losses and optimisers stay in float32;
      remat, 'nothing' or 'inner_steps': whether inner steps are computed again in the backward pass, which
      keeps less of them but, on a CPU, needs a compiler option to save memory (`adaptation.gradient_step`).

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  check_learning_rates(
    decay_steps,
    value_learning_rate=value_learning_rate,
    policy_learning_rate=policy_learning_rate,
    rule_learning_rate=rule_learning_rate,
  )
  parts = objective(problem, **arguments)
  return meta_learner(
    init_net=parts.init_net,
    adaptation=parts.adaptation,
    outer_loss=add(parts.value_loss, parts.policy_loss),
    optimizer=optimize_parts(
      {
        "value": optimizer(learning_rate(value_learning_rate, decay_steps)),
        "policy": optimizer(learning_rate(policy_learning_rate, decay_steps)),
        RULE: optimizer(learning_rate(rule_learning_rate, decay_steps)),
      }
    ),
    act=parts.act,
  )
