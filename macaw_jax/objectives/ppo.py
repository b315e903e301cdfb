"""Proximal policy optimisation on trials: several episodes of one task as one sequence.

Schulman et al. 2017, arXiv:1707.06347; on trials, Duan et al. 2016, arXiv:1611.02779. Returns and advantages go on
across the ends of episodes, since what the first one explores pays in the later ones. The sums over steps are those of
steps that happened.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.policy_gradient import clipped_ratio_objective
from macaw_jax.losses.returns import generalised_advantage, masked_mean, normalise_advantage, returns_to_go
from macaw_jax.networks.linen import as_network
from macaw_jax.networks.running_scale import RunningScale, deviation, initial_scale, update_scale
from macaw_jax.networks.small_weights import small_weights_mlp
from macaw_jax.networks.stochastic_policy import StochasticPolicy
from macaw_jax.types import Array, Key, Metrics, Network, Params, Steps


class Judged(NamedTuple):
  """Trials as their behaviour policy judges them; all of it is data, under a stop-gradient.

  Trials may lie along several axes in place of the one that is written T.
  """

  steps: Steps  # [T, N]  those that happened first
  features: Array  # [T, N, F]  that the behaviour policy read
  log_prob: Array  # [T, N]  of the actions, by the behaviour policy
  advantage: Array  # [T, N]  standardised over all steps
  target: Array  # [T, N]  of the value
  remaining: Array  # [T]  share of training that is left


ReadFeatures = Callable[[Mapping[str, Params], Judged], Array]
"""`(net, judged [T]) -> features [T, N, F]` that policy and value read."""

TrialLoss = Callable[[dict[str, Params], Judged, Key], tuple[Array, Metrics]]
"""`(net, trials, key) -> (scalar, metrics)`."""


def happened_first(steps: Steps) -> Steps:
  """The steps `[N, ...]` of one trial in their order, those that did not happen behind them.

  So that what a step is discounted by is the number of steps that happened in between.
  """
  order = jnp.argsort(1.0 - steps.mask, stable=True)
  return jax.tree.map(lambda leaf: leaf[order], steps)


RETURNS = "returns"  # the part that holds mean and deviation of the returns, in which the value network counts


def initial_returns(key: Key) -> RunningScale:
  """The part `returns` before any trial."""
  return initial_scale(1)


def value_network(size: int, hidden_sizes: Sequence[int]) -> Network:
  """The network of `value_of`, for features of this size."""
  return as_network(small_weights_mlp((*hidden_sizes, 1), "tanh"), size + 1)


def value_of(value: Network, net: Mapping[str, Params], features: Array, mask: Array) -> Array:
  """V at each step of trials, features `[T, N, F]` and mask `[T, N]` to `[T, N]`.

  V = mean + deviation * network(features, share of the trial that is over), with the moments of the returns, under a
  stop-gradient: so it learns as fast whatever the size of rewards and the length of trials. It alone sees the clock,
  without which it could not tell a return of many steps from one of few; a policy need not wait for the end.
  """
  scale: RunningScale = jax.lax.stop_gradient(net[RETURNS])
  over = jnp.cumsum(mask, axis=-1)[..., None] / mask.shape[-1]
  outputs = value.apply(net["value"], jnp.concatenate([features, over], axis=-1))
  return scale.mean[0] + deviation(scale)[0] * outputs[..., 0]


def follow_returns(discount: float | Array) -> Callable[[Mapping[str, Params], Steps], RunningScale]:
  """How the part `returns` follows the trials of an update, by their discounted returns to go."""

  def follow(net: Mapping[str, Params], steps: Steps) -> RunningScale:
    return update_scale(net[RETURNS], returns_to_go(steps.reward, discount)[..., None], mask=steps.mask)

  return follow


def judge(
  policy: StochasticPolicy,
  value: Network,
  net: Mapping[str, Params],
  steps: Steps,
  features: Array,
  remaining: Array,
  *,
  discount: float | Array,
  lambda_: float | Array,
) -> Judged:
  """Trials with their advantages and targets of the value, by the parts `policy` and `value` as they are.

  A is `generalised_advantage` over the trial; nothing is bootstrapped at its end. The target is A + V.

  Args:
    policy: the behaviour policy.
    value: the network of `value_of`.
    net: the parameters that acted.
    steps: `[T, N]`, those that happened first.
    features: `[T, N, F]`, that policy and value read.
    remaining: `[]`, share of training that is left.
    discount: gamma, from step to step of the trial.
    lambda_: of the advantages.
  """
  chex.assert_equal_shape_prefix([steps.mask, features], 2)
  values = value_of(value, net, features, steps.mask)
  advantage = generalised_advantage(steps.reward, values, steps.mask, discount, lambda_)
  scale = jnp.sqrt(masked_mean(jnp.square(values), steps.mask))
  judged = Judged(
    steps=steps,
    features=features,
    log_prob=policy.log_prob(policy.distribution(net["policy"], features), steps.action),
    advantage=normalise_advantage(advantage, steps.mask, scale),
    target=advantage + values,
    remaining=jnp.full(steps.mask.shape[:-1], remaining),
  )
  return jax.lax.stop_gradient(judged)


def ppo_loss(
  policy: StochasticPolicy,
  value: Network,
  read: ReadFeatures,
  *,
  clip: float | Array,
  entropy_weight: float | Array,
  value_weight: float | Array,
) -> TrialLoss:
  """L = -mean min(rho A, clip(rho, 1 - clip, 1 + clip) A) - c_H mean H + c_V mean ((V - R) / deviation)^2.

  rho = pi(a | features) / behaviour(a | features), H the entropy of pi, R the target of the value, and the deviation
  that of returns. The weight c_H falls on a line to zero with what is left of training: exploring by noise helps to
  find a strategy, and spoils it later.

  Args:
    policy: the part `policy`.
    value: the part `value`.
    read: what both read; a memory among it is trained by this loss, unless its gradient is stopped.
    clip: eps.
    entropy_weight: c_H at the start.
    value_weight: c_V.
  """

  def loss(net: dict[str, Params], trials: Judged, key: Key) -> tuple[Array, Metrics]:
    features, mask = read(net, trials), trials.steps.mask
    distribution = policy.distribution(net["policy"], features)
    now = policy.log_prob(distribution, trials.steps.action)
    objective = masked_mean(clipped_ratio_objective(now, trials.log_prob, trials.advantage, clip), mask)
    entropy = masked_mean(policy.entropy(distribution), mask)
    error = (value_of(value, net, features, mask) - trials.target) / deviation(net[RETURNS])[0]
    value_loss = masked_mean(jnp.square(error), mask)
    weight = entropy_weight * jnp.mean(trials.remaining)
    drift = masked_mean(trials.log_prob - now, mask)
    metrics = {"entropy": entropy, "value_loss": value_loss, "divergence": drift, "policy_objective": objective}
    return -objective - weight * entropy + value_weight * value_loss, metrics

  return loss
