"""Policies on any features: their distributions against those of SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.types import ActionDistribution, Problem

KEY = jax.random.key(0)
FEATURES = jax.random.normal(KEY, (5, 4))


def policy(discrete):
  return stochastic_policy(Problem(2, 3, 1, 0.9, discrete_actions=discrete), 4, (6,), initial_log_std=-0.3)


def test_a_choice_is_categorical():
  made = policy(True)
  log_probs = 3.0 * made.distribution(jax.tree.map(lambda leaf: 4.0 * leaf, made.init(KEY)), FEATURES)
  log_probs = jax.nn.log_softmax(log_probs)
  probs = np.asarray(jnp.exp(log_probs), np.float64)
  np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-6)
  np.testing.assert_allclose(made.entropy(log_probs), scipy.stats.entropy(probs, axis=-1), rtol=1e-5)
  np.testing.assert_array_equal(jnp.argmax(made.mode(log_probs), axis=-1), probs.argmax(axis=-1))
  drawn = made.sample(jnp.broadcast_to(log_probs[0], (20_000, 3)), KEY)
  np.testing.assert_array_equal(drawn.sum(axis=-1), 1.0)
  np.testing.assert_allclose(drawn.mean(axis=0), probs[0], atol=0.015)
  np.testing.assert_allclose(made.log_prob(log_probs, jax.nn.one_hot(1, 3)), log_probs[:, 1])
  other = log_probs[::-1]
  expected = scipy.stats.entropy(probs, np.asarray(jnp.exp(other), np.float64), axis=-1)
  np.testing.assert_allclose(made.divergence(log_probs, other), expected, rtol=1e-4, atol=1e-6)


def test_a_vector_is_gaussian():
  made = policy(False)
  distribution = made.distribution(made.init(KEY), FEATURES)
  action = made.sample(distribution, jax.random.key(1))
  reference = scipy.stats.norm(np.asarray(distribution.mean), np.exp(np.asarray(distribution.log_std)))
  np.testing.assert_allclose(made.log_prob(distribution, action), reference.logpdf(action).sum(axis=-1), rtol=1e-5)
  np.testing.assert_allclose(made.entropy(distribution), reference.entropy().sum(axis=-1), rtol=1e-5)
  np.testing.assert_array_equal(made.mode(distribution), distribution.mean)


def test_a_product_of_choices_is_the_best_policy_near_a_prior():
  """pi = pi_0^a exp(b (Q - V)), V = log sum pi_0^a exp(b Q) / b, with a = 1/2, b = 2 and Q = (1, 0)."""
  values, b = jnp.array([1.0, 0.0]), 2.0
  made = stochastic_policy(Problem(2, 2, 1, 0.9, discrete_actions=True), 4, (6,))
  for prior, value, expected in (
    ([0.5, 0.5], 0.890177, [0.880797, 0.119203]),
    ([0.9, 0.1], 0.995722, [0.956835, 0.043165]),
  ):
    log_prior = jnp.log(jnp.array(prior))
    found = made.product(log_prior, b * values, 0.5)
    np.testing.assert_allclose(jnp.exp(found), expected, atol=1e-6)
    np.testing.assert_allclose(values - (found - 0.5 * log_prior) / b, value, atol=1e-5)


def test_distilling_one_task_again_and_again_ends_greedily():
  made = stochastic_policy(Problem(2, 3, 1, 0.9, discrete_actions=True), 4, (6,))
  central = jnp.log(jnp.array([0.1, 0.3, 0.6]))
  for _ in range(30):
    central = made.product(central, jnp.array([1.0, 0.5, 0.0]), 1.0)
  np.testing.assert_allclose(jnp.exp(central), [1.0, 0.0, 0.0], atol=1e-5)


def test_a_product_of_gaussians_is_proportional_to_the_product_of_their_densities():
  made = policy(False)
  p = ActionDistribution(jnp.array([0.5, -1.0, 0.0]), jnp.array([-0.3, 0.4, 0.0]))
  q = ActionDistribution(jnp.array([-0.2, 0.3, 2.0]), jnp.array([0.2, -0.5, 0.0]))
  actions = jax.random.normal(KEY, (20, 3))
  for power in (0.0, 0.7, 2.0):
    product = made.log_prob(made.product(p, q, power), actions)
    ratio = power * made.log_prob(p, actions) + made.log_prob(q, actions) - product
    np.testing.assert_allclose(ratio, np.full(20, ratio[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("discrete", [True, False])
def test_at_first_no_action_is_preferred_much(discrete):
  made = policy(discrete)
  mode = made.distribution(made.init(KEY), FEATURES)
  spread = jnp.exp(mode) - 1 / 3 if discrete else mode.mean
  assert np.all(np.abs(spread) < 0.2)
