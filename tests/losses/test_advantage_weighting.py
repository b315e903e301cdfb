import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.advantage_weighting import (
  advantage_weights,
  exponential_weights,
  softmax_weights,
  weighted_negative_log_likelihood,
)
from macaw_jax.networks.policy import gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import (
  add,
  advantage,
  advantage_regression,
  advantage_weighted_regression,
  behaviour_cloning,
  macaw_policy_loss,
  monte_carlo,
  scale,
  value_regression,
)
from macaw_jax.objectives.values import bootstrapped, td_lambda
from macaw_jax.types import Transition

KEY = jax.random.key(0)
POLICY = gaussian_policy(3, 2, (8,), layer="dense", advantage_head=True)
VALUE = value_network(3, (8,), layer="dense")
ADVANTAGE = advantage(VALUE, monte_carlo())


def parts():
  return {"policy": POLICY.init(jax.random.key(1)), "value": VALUE.init(jax.random.key(2))}


def batch(rows=6):
  keys = iter(jax.random.split(jax.random.key(3), 9))
  draw = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
  observation, action, mc_return = draw(rows, 3), draw(rows, 2), draw(rows)
  zeros = jnp.zeros((rows,))
  return Transition(observation, action, zeros, observation, zeros, zeros, mc_return, observation, zeros + 0.5)


def test_weights_by_hand():
  # Mean 2, unbiased deviation 2: normalised -1, 0, 1.
  weights = advantage_weights(jnp.array([0.0, 2.0, 4.0]), temperature=2.0)
  np.testing.assert_allclose(weights, np.exp([-0.5, 0.0, 0.5]), rtol=1e-6)


def test_only_large_weights_are_clipped():
  advantage = jnp.array([-100.0] + [0.0] * 98 + [100.0])
  weights = advantage_weights(advantage, max_weight=20.0)
  np.testing.assert_allclose(weights[-1], 20.0, rtol=1e-6)
  assert weights[0] < 1.0 / 20.0


def test_raw_advantages_are_cut_on_both_sides():
  weights = advantage_weights(jnp.array([-9.0, 0.5, 9.0]), normalise=False, max_weight=4.0)
  np.testing.assert_allclose(weights, [0.25, np.exp(0.5), 4.0], rtol=1e-6)


def test_equal_advantages_weigh_one():
  np.testing.assert_allclose(advantage_weights(jnp.full((5,), 3.0)), 1.0)


def test_exponential_weights_have_an_upper_bound_alone():
  weights = exponential_weights(jnp.array([[-9.0, 0.0], [0.5, 1e6]]), temperature=0.5, max_weight=100.0)
  np.testing.assert_allclose(weights, [[np.exp(-18.0), 1.0], [np.e, 100.0]], rtol=1e-5)


def test_softmax_weights_by_hand_have_mean_one():
  # exp(0) and exp(log 3), in sum four; twice their shares.
  np.testing.assert_allclose(
    softmax_weights(jnp.array([0.0, 0.3 * np.log(3.0)]), temperature=0.3), [0.5, 1.5], rtol=1e-6
  )
  weights = softmax_weights(1e4 * jax.random.normal(KEY, (3, 5)), temperature=0.1)
  np.testing.assert_allclose(jnp.mean(weights), 1.0, rtol=1e-6)


def test_weighted_likelihood_by_hand_and_weights_are_held():
  log_prob, weights = jnp.array([-1.0, -3.0]), jnp.array([2.0, 0.5])
  np.testing.assert_allclose(weighted_negative_log_likelihood(log_prob, weights), 0.5 * (2.0 + 1.5))
  gradient = jax.grad(weighted_negative_log_likelihood, argnums=1)(log_prob, weights)
  np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize(
  ("loss", "trained"),
  [
    (advantage_weighted_regression(POLICY, ADVANTAGE), "policy"),
    (advantage_regression(POLICY, ADVANTAGE), "policy"),
    (behaviour_cloning(POLICY), "policy"),
    (value_regression(VALUE, monte_carlo()), "value"),
  ],
)
def test_each_loss_trains_one_part(loss, trained):
  gradient = jax.grad(lambda params: loss(params, batch(), KEY)[0])(parts())
  for part, leaves in gradient.items():
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(leaves))
    assert (largest > 0) == (part == trained), part


def test_advantages_and_targets_train_nothing():
  """Whatever a loss does with them, as one that is handed in by a caller."""
  for of_batch in (ADVANTAGE, bootstrapped(VALUE), td_lambda(VALUE, discount=0.9, lambda_=0.5)):
    gradient = jax.grad(lambda params, of_batch=of_batch: jnp.sum(of_batch(params, batch())))(parts())
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_head_is_trained_by_advantage_regression_alone():
  gradient = jax.grad(lambda params: behaviour_cloning(POLICY)(params, batch(), KEY)[0])(parts())["policy"]
  assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient["head"]))


def test_constant_advantage_is_behaviour_cloning():
  constant = lambda params, batch: jnp.ones_like(batch.reward)  # noqa: E731
  params = parts()
  weighted, _ = advantage_weighted_regression(POLICY, constant)(params, batch(), KEY)
  cloned, _ = behaviour_cloning(POLICY)(params, batch(), KEY)
  np.testing.assert_allclose(weighted, cloned, rtol=1e-6)


def test_gaussian_log_likelihood_against_its_formula():
  params, rows = parts(), batch()
  mean = POLICY.mean(params["policy"], rows.observation)
  expected = np.sum(-0.5 * ((rows.action - mean) / 0.2) ** 2 - np.log(0.2) - 0.5 * np.log(2 * np.pi), axis=-1)
  np.testing.assert_allclose(POLICY.log_prob(params["policy"], rows.observation, rows.action), expected, rtol=1e-5)


def test_add_and_scale_equal_arithmetic():
  params, rows = parts(), batch()
  first, second = behaviour_cloning(POLICY), value_regression(VALUE, monte_carlo())
  values = [loss(params, rows, KEY)[0] for loss in (first, second)]
  total, metrics = add(first, scale(3.0, second))(params, rows, KEY)
  np.testing.assert_allclose(total, values[0] + 3.0 * values[1], rtol=1e-6)
  assert metrics.keys() == {"policy_loss", "value_loss"}
  learned, _ = scale(lambda params: params["weight"], second)(params | {"weight": 2.0}, rows, KEY)
  np.testing.assert_allclose(learned, 2.0 * values[1], rtol=1e-6)


def test_losses_that_report_the_same_metric_cannot_be_added():
  with pytest.raises(ValueError, match="policy_loss"):
    add(behaviour_cloning(POLICY), behaviour_cloning(POLICY))(parts(), batch(), KEY)


def test_enriched_regression_is_the_sum_of_its_two_losses():
  params, rows = parts() | {"coefficient": jnp.array(0.3)}, batch()
  coefficient = lambda params: params["coefficient"]  # noqa: E731
  together = macaw_policy_loss(POLICY, ADVANTAGE, coefficient, temperature=0.7)
  apart = add(
    advantage_weighted_regression(POLICY, ADVANTAGE, temperature=0.7),
    scale(coefficient, advantage_regression(POLICY, ADVANTAGE)),
  )
  results = [
    jax.value_and_grad(lambda params, f=f: f(params, rows, KEY), has_aux=True)(params) for f in (together, apart)
  ]
  ((value, metrics), gradient), ((expected, expected_metrics), expected_gradient) = results
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  assert metrics.keys() == expected_metrics.keys()
  for name, expected_metric in expected_metrics.items():
    np.testing.assert_allclose(metrics[name], expected_metric, rtol=1e-5, err_msg=name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, expected_gradient)
  assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient["value"]))


def test_advantage_regression_needs_a_head():
  with pytest.raises(ValueError, match="advantage head"):
    advantage_regression(gaussian_policy(3, 2, (8,), layer="dense"), ADVANTAGE)
  with pytest.raises(ValueError, match="advantage head"):
    macaw_policy_loss(gaussian_policy(3, 2, (8,), layer="dense"), ADVANTAGE, lambda params: 1.0)


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"max_weight": 0.5}])
def test_bad_weighting_is_refused(arguments):
  with pytest.raises(ValueError, match=next(iter(arguments))):
    advantage_weighted_regression(POLICY, ADVANTAGE, **arguments)
