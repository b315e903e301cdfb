"""Policy losses on fixed data, bound to a policy: advantage-weighted regression, advantage regression, cloning.

The value network only judges here: no gradient of these losses reaches it. A policy loss of MACAW is made by a
`MakePolicyLoss`: whoever calls an algorithm can hand in another.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_positive, require
from macaw_jax.losses.advantage_weighting import advantage_weights, weighted_negative_log_likelihood
from macaw_jax.losses.returns import masked_mean
from macaw_jax.losses.values import squared_error
from macaw_jax.networks.policy import Policy
from macaw_jax.objectives.values import Target
from macaw_jax.types import Array, Key, LossFn, Metrics, Network, Params, Transition

Advantage = Callable[[dict[str, Params], Transition], Array]
"""`(params, batch) -> [B]`: the advantage of the recorded actions, under a stop-gradient."""

PART = "policy"  # the part that holds a policy's parameters


MakePolicyLoss = Callable[..., LossFn]
"""`(policy, advantage, temperature=, max_weight=) -> loss`; `advantage_weighted_regression` is one."""


def advantage(value: Network, target: Target, part: str = "value") -> Advantage:
  """A(s, a) = y - V(s) for the estimate y of the return that `target` gives, under a stop-gradient."""

  def of_batch(params: dict[str, Params], batch: Transition) -> Array:
    return jax.lax.stop_gradient(target(params, batch) - value.apply(params[part], batch.observation))

  return of_batch


def advantage_weighted_regression(
  policy: Policy, advantage: Advantage, *, temperature: float = 1.0, max_weight: float = 20.0, normalise: bool = True
) -> LossFn:
  """L_AWR = mean(-w log pi(a | s)), w from `advantage_weights` (Peng et al. 2019; Mitchell et al. 2021, equation 2).

  Raises ValueError unless the temperature is positive and the largest weight at least one.
  """
  weigh = _weighting(temperature, max_weight, normalise)

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    weights = weigh(advantage(params, batch), mask=batch.mask)
    log_prob = policy.log_prob(params[PART], batch.observation, batch.action)
    error = weighted_negative_log_likelihood(log_prob, weights, batch.mask)
    return error, {"policy_loss": error, "largest_weight": jnp.max(weights)}

  return loss


def advantage_regression(policy: Policy, advantage: Advantage) -> LossFn:
  """L_ADV = mean (head(s, a) - A(s, a))^2, A under a stop-gradient (Mitchell et al. 2021, equation 4).

  Advantage-weighted regression alone cannot tell the policy both an action and how much it matters; predicting
  the advantage hands the inner step what it lacks. Raises ValueError if the policy has no advantage head.
  """
  if policy.advantage is None:
    raise ValueError("advantage regression needs a policy with an advantage head")
  predict = policy.advantage

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    target = jax.lax.stop_gradient(advantage(params, batch))
    error = squared_error(predict(params[PART], batch.observation, batch.action), target, batch.mask)
    return error, {"advantage_loss": error}

  return loss


def macaw_policy_loss(
  policy: Policy,
  advantage: Advantage,
  coefficient: Callable[[dict[str, Params]], Array],
  *,
  temperature: float = 1.0,
  max_weight: float = 20.0,
  normalise: bool = True,
) -> LossFn:
  """L_AWR + coefficient L_ADV (Mitchell et al. 2021, equation 3), in one pass through the policy's trunk.

  Equal to `add(advantage_weighted_regression(...), scale(coefficient, advantage_regression(...)))`. Two losses make
  two backward passes through the trunk that they share, and meta-training differentiates both of them again. The
  coefficient is read from the params. Raises ValueError for a policy without an advantage head, or for weights that
  `advantage_weighted_regression` refuses.
  """
  if policy.log_prob_and_advantage is None:
    raise ValueError("advantage regression needs a policy with an advantage head")
  log_prob_and_advantage = policy.log_prob_and_advantage
  weigh = _weighting(temperature, max_weight, normalise)

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    target = jax.lax.stop_gradient(advantage(params, batch))
    weights = weigh(target, mask=batch.mask)
    log_prob, prediction = log_prob_and_advantage(params[PART], batch.observation, batch.action)
    policy_error = weighted_negative_log_likelihood(log_prob, weights, batch.mask)
    head_error = squared_error(prediction, target, batch.mask)
    metrics = {"policy_loss": policy_error, "advantage_loss": head_error, "largest_weight": jnp.max(weights)}
    return policy_error + coefficient(params) * head_error, metrics

  return loss


def behaviour_cloning(policy: Policy) -> LossFn:
  """L_BC = mean(-log pi(a | s)): imitation of the behaviour policy."""

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    error = -masked_mean(policy.log_prob(params[PART], batch.observation, batch.action), batch.mask)
    return error, {"policy_loss": error}

  return loss


def _weighting(temperature: float, max_weight: float, normalise: bool) -> Callable[..., Array]:
  """`advantage_weights` with these arguments. Raises ValueError for those that make no sense."""
  check_positive(temperature=temperature)
  require(max_weight >= 1, f"max_weight={max_weight} must be at least 1")
  return partial(advantage_weights, temperature=temperature, max_weight=max_weight, normalise=normalise)
