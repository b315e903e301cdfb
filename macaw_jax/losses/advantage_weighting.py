"""Policies from fixed data: advantage-weighted regression, advantage regression, behaviour cloning.

Array-level functions act on one batch of one task, `[B]`; the loss functions bind them to a policy and a value
network. The value network only judges here: no gradient of these losses reaches it.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import require
from macaw_jax.losses.values import Target, squared_error
from macaw_jax.networks.policy import Policy
from macaw_jax.types import Array, Key, LossFn, Metrics, Network, Params, Transition

Advantage = Callable[[dict[str, Params], Transition], Array]
"""`(params, batch) -> [B]`: the advantage of the recorded actions, held fixed."""

SMALLEST_DEVIATION = 1e-8  # Advantages that are all equal then weigh 1, and the loss is behaviour cloning.


def exponential_weights(advantage: Array, *, temperature: float, max_weight: float) -> Array:
  """W = min(exp(A / temperature), max_weight), without overflow: `[...] -> [...]`.

  Implicit Q-learning weighs so (Kostrikov et al. 2021, arXiv:2110.06169, equation 7).
  """
  return jnp.exp(jnp.minimum(advantage / temperature, jnp.log(max_weight)))


def softmax_weights(advantage: Array, *, temperature: float) -> Array:
  """W = N softmax(A / temperature) over all N rows of a batch, so that weights have mean one: `[...] -> [...]`.

  AWAC's exp(A / temperature) / Z, with Z estimated on the batch (Nair et al. 2020, arXiv:2006.09359).
  """
  return advantage.size * jax.nn.softmax(advantage / temperature, axis=None)


def advantage_weights(
  advantage: Array, *, temperature: float = 1.0, max_weight: float = 20.0, normalise: bool = True
) -> Array:
  """W = exp(min(A' / temperature, log max_weight)), A' = (A - mean A) / std A over the batch.

  The standard deviation is the unbiased one, as in the released code. Only large weights are clipped.

  Args:
    advantage: A, `[B]`.
    temperature: How much a better action counts; towards infinity every weight is 1.
    max_weight: Upper bound of a weight.
    normalise: False uses A itself, cut below at -log max_weight as well.
  """
  chex.assert_rank(advantage, 1)
  if normalise:
    deviation = jnp.maximum(jnp.std(advantage, ddof=1), SMALLEST_DEVIATION)
    advantage = (advantage - jnp.mean(advantage)) / deviation
  else:
    advantage = jnp.maximum(advantage, -jnp.log(max_weight) * temperature)
  return exponential_weights(advantage, temperature=temperature, max_weight=max_weight)


def weighted_negative_log_likelihood(log_prob: Array, weights: Array) -> Array:
  """-mean(w log pi(a | s)) with the weights held fixed: `[...], [...] -> []`."""
  chex.assert_equal_shape([log_prob, weights])
  return -jnp.mean(jax.lax.stop_gradient(weights) * log_prob)


def advantage_of(value: Network, target: Target, part: str = "value") -> Advantage:
  """A(s, a) = y - V(s) for the estimate y of the return that `target` gives, all held fixed."""

  def advantage(params: dict[str, Params], batch: Transition) -> Array:
    return jax.lax.stop_gradient(target(params, batch) - value.apply(params[part], batch.observation))

  return advantage


def advantage_weighted_regression(
  policy: Policy,
  advantage: Advantage,
  *,
  temperature: float = 1.0,
  max_weight: float = 20.0,
  normalise: bool = True,
  part: str = "policy",
) -> LossFn:
  """mean(-w log pi(a | s)), w from `advantage_weights` (Peng et al. 2019; Mitchell et al. 2021, equation 2).

  Raises ValueError unless the temperature is positive and the largest weight at least one.
  """
  weigh = _weighting(temperature, max_weight, normalise)

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    del key
    weights = weigh(advantage(params, batch))
    log_prob = policy.log_prob(params[part], batch.observation, batch.action)
    error = weighted_negative_log_likelihood(log_prob, weights)
    return error, {"policy_loss": error, "largest_weight": jnp.max(weights)}

  return loss


def advantage_regression(policy: Policy, advantage: Advantage, *, part: str = "policy") -> LossFn:
  """Mean (head(s, a) - A(s, a))^2, the advantage held fixed (Mitchell et al. 2021, equation 4).

  Advantage-weighted regression alone cannot tell the policy both an action and how much it matters; predicting
  the advantage hands the inner step what it lacks. Raises ValueError if the policy has no advantage head.
  """
  if policy.advantage is None:
    raise ValueError("advantage regression needs a policy with an advantage head")
  predict = policy.advantage

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    del key
    target = jax.lax.stop_gradient(advantage(params, batch))
    error = squared_error(predict(params[part], batch.observation, batch.action), target)
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
  part: str = "policy",
) -> LossFn:
  """MACAW's inner policy loss (Mitchell et al. 2021, equation 3), in one pass through the policy's trunk.

  Equal to `add(advantage_weighted_regression(...), scale(coefficient, advantage_regression(...)))`. Two losses make
  two backward passes through the trunk that they share, and meta-training differentiates both of them again.

  Args:
    policy: With an advantage head.
    advantage: A(s, a), held fixed.
    coefficient: Reads the weight of the advantage regression from the params.
    temperature: See `advantage_weights`.
    max_weight: Likewise.
    normalise: Likewise.
    part: The name of the policy's parameters.

  Raises:
    ValueError: for a policy without an advantage head, or weights that `advantage_weighted_regression` refuses.
  """
  if policy.log_prob_and_advantage is None:
    raise ValueError("advantage regression needs a policy with an advantage head")
  log_prob_and_advantage = policy.log_prob_and_advantage
  weigh = _weighting(temperature, max_weight, normalise)

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    del key
    target = jax.lax.stop_gradient(advantage(params, batch))
    weights = weigh(target)
    log_prob, prediction = log_prob_and_advantage(params[part], batch.observation, batch.action)
    policy_error = weighted_negative_log_likelihood(log_prob, weights)
    head_error = squared_error(prediction, target)
    metrics = {"policy_loss": policy_error, "advantage_loss": head_error, "largest_weight": jnp.max(weights)}
    return policy_error + coefficient(params) * head_error, metrics

  return loss


def behaviour_cloning(policy: Policy, *, part: str = "policy") -> LossFn:
  """mean(-log pi(a | s)): imitation of whoever acted."""

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    del key
    error = -jnp.mean(policy.log_prob(params[part], batch.observation, batch.action))
    return error, {"policy_loss": error}

  return loss


def _weighting(temperature: float, max_weight: float, normalise: bool) -> Callable[[Array], Array]:
  """`advantage_weights` with these arguments. Raises ValueError for those that make no sense."""
  require(temperature > 0, f"temperature={temperature} must be positive")
  require(max_weight >= 1, f"max_weight={max_weight} must be at least 1")
  return functools.partial(advantage_weights, temperature=temperature, max_weight=max_weight, normalise=normalise)
