"""Regularised rewards and divergences between tasks, by hand and by the closed form of the best policy."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.losses.task_policies import mean_over_pairs, regularised_reward


def test_the_regularised_reward_of_the_best_policy_is_its_value_in_expectation():
  """V = log sum_a pi_0^alpha exp(beta Q) / beta and pi = pi_0^alpha exp(beta (Q - V)), as worked out beforehand."""
  values, alpha, beta = jnp.array([1.0, 0.0]), 0.5, 2.0
  for prior, policy, value in (
    ([0.5, 0.5], [0.880797, 0.119203], 0.890177),
    ([0.9, 0.1], [0.956835, 0.043165], 0.995722),
  ):
    prior, policy = jnp.array(prior), jnp.array(policy)
    found = regularised_reward(values, jnp.log(policy), jnp.log(prior), alpha=alpha, beta=beta)
    np.testing.assert_allclose(jnp.sum(policy * found), value, atol=1e-5)
    # The same costs as the paper states them first.
    divergence, entropy = alpha / beta, (1 - alpha) / beta
    costs = values - divergence * jnp.log(policy / prior) - entropy * jnp.log(policy)
    np.testing.assert_allclose(found, costs, rtol=1e-5)


def test_logarithms_in_the_reward_are_data():
  reward, log_prob, central = jnp.array([1.0]), jnp.array([-0.5]), jnp.array([-2.0])

  def total(reward, log_prob, central):
    return jnp.sum(regularised_reward(reward, log_prob, central, alpha=0.5, beta=4.0))

  of_reward, of_own, of_central = jax.grad(total, (0, 1, 2))(reward, log_prob, central)
  np.testing.assert_array_equal(of_reward, 1.0)
  np.testing.assert_array_equal(of_own, 0.0)
  np.testing.assert_array_equal(of_central, 0.0)


def test_the_mean_over_pairs_by_loops():
  random = np.random.RandomState(0)
  first, second = random.normal(size=(2, 3, 3, 2, 4))
  mask = (np.arange(4) < random.randint(1, 5, size=(3, 2, 1))).astype(float)
  expected = np.zeros(3)
  for i in range(3):
    for j in range(3):
      if i != j:
        of_i = (first[i, j] * mask[i]).sum() / mask[i].sum()
        of_j = (second[i, j] * mask[j]).sum() / mask[j].sum()
        expected[i] += (of_i + of_j) / 2 / 2
  np.testing.assert_allclose(mean_over_pairs(*map(jnp.asarray, (first, second, mask))), expected, rtol=1e-5)


def test_one_slice_has_no_other():
  ones = jnp.ones((1, 1, 2, 3))
  np.testing.assert_array_equal(mean_over_pairs(ones, ones, ones[0]), [0.0])
