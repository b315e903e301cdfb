"""Policies on any features, for actions that are vectors and for actions that are a choice.

A choice among A actions is a vector [A] with a one at the choice: so a transition looks the same in every family.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.networks.gaussian import kl_divergence, learned_gaussian_policy, sample
from macaw_jax.networks.gaussian import log_prob as gaussian_log_prob
from macaw_jax.networks.linen import as_network, forward_rows
from macaw_jax.networks.small_weights import small_weights_mlp
from macaw_jax.types import ActionDistribution, Array, Key, Params, Problem

LOG_2_PI_E = 2.8378770664093453


class StochasticPolicy(NamedTuple):
  """A policy as pure functions; a distribution is an `ActionDistribution`, or log-probabilities `[..., A]` of a choice.

  init:         `(key) -> params`
  distribution: `(params, features [..., F]) -> distribution`
  mode:         `(distribution) -> action [..., A]`
  sample:       `(distribution, key) -> action [..., A]`
  log_prob:     `(distribution, action [..., A]) -> [...]`
  entropy:      `(distribution) -> [...]`
  divergence:   `(p, q) -> KL(p || q) [...]`
  product:      `(p, q, a) -> distribution` proportional to p^a q, with a >= 0
  """

  init: Callable[[Key], Params]
  distribution: Callable[[Params, Array], ActionDistribution | Array]
  mode: Callable[..., Array]
  sample: Callable[..., Array]
  log_prob: Callable[..., Array]
  entropy: Callable[..., Array]
  divergence: Callable[..., Array]
  product: Callable[..., ActionDistribution | Array]


def stochastic_policy(
  problem: Problem, features: int, hidden_sizes: Sequence[int], *, initial_log_std: float = -0.5
) -> StochasticPolicy:
  """The policy of a problem: a categorical one where its actions are a choice, else `learned_gaussian_policy`.

  Args:
    problem: Its size of actions, and whether they are a choice.
    features: F, size of the inputs.
    hidden_sizes: Hidden layers, with tanh between them; there may be none.
    initial_log_std: Where the log standard deviation of each component starts.
  """
  if problem.discrete_actions:
    return _categorical(features, problem.action_size, hidden_sizes)
  gaussian = learned_gaussian_policy(
    features, problem.action_size, hidden_sizes, initial_log_std=initial_log_std, shared_log_std=False
  )

  def entropy(distribution: ActionDistribution) -> Array:
    return jnp.sum(distribution.log_std + 0.5 * LOG_2_PI_E, axis=-1)

  return StochasticPolicy(
    gaussian.init,
    gaussian.distribution,
    mode=lambda distribution: distribution.mean,
    sample=sample,
    log_prob=gaussian_log_prob,
    entropy=entropy,
    divergence=kl_divergence,
    product=_gaussian_product,
  )


def _categorical(features: int, num_choices: int, hidden_sizes: Sequence[int]) -> StochasticPolicy:
  """Softmax of a multilayer perceptron whose outputs start near zero: at first all choices are about as likely."""
  module = small_weights_mlp((*hidden_sizes, num_choices), "tanh")

  def distribution(params: Params, inputs: Array) -> Array:
    return jax.nn.log_softmax(forward_rows(module, params, inputs))

  def chosen(index: Array) -> Array:
    return jax.nn.one_hot(index, num_choices)

  return StochasticPolicy(
    as_network(module, features).init,
    distribution,
    mode=lambda log_probs: chosen(jnp.argmax(log_probs, axis=-1)),
    sample=lambda log_probs, key: chosen(jax.random.categorical(key, log_probs)),
    log_prob=lambda log_probs, action: jnp.sum(log_probs * action, axis=-1),
    entropy=lambda log_probs: -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1),
    divergence=lambda p, q: jnp.sum(jnp.exp(p) * (p - q), axis=-1),
    product=lambda p, q, power: jax.nn.log_softmax(power * p + q),
  )


def _gaussian_product(p: ActionDistribution, q: ActionDistribution, power: float | Array) -> ActionDistribution:
  """Precisions add up, a / s_p^2 + 1 / s_q^2, and the mean is that of the two means, weighted by them."""
  of_p, of_q = power * jnp.exp(-2.0 * p.log_std), jnp.exp(-2.0 * q.log_std)
  precision = of_p + of_q
  return ActionDistribution((of_p * p.mean + of_q * q.mean) / precision, -0.5 * jnp.log(precision))
