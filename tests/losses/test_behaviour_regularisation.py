import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from macaw_jax.losses.behaviour_regularisation import (
  dual_kl,
  dual_wasserstein,
  gradient_penalty,
  multiplier_loss,
  score_penalty,
)
from macaw_jax.networks.value import value_network


@pytest.mark.parametrize(("score", "expected"), [(0.0, -0.059660), (float(np.log(np.e - 1.0)), 0.0)])
def test_divergence_of_constant_scores_is_known(score, expected):
  scores = jnp.full((2, 3), score)
  np.testing.assert_allclose(dual_kl(scores, scores), np.full((2, 3), expected), atol=3e-7)


def test_one_constant_score_for_both_says_no_divergence():
  scores = jnp.linspace(-100.0, 100.0, 2001)
  assert jnp.max(dual_kl(scores, scores)) <= 1e-6


def test_divergence_and_its_gradients_are_finite_at_any_score():
  scores = jnp.array([-1e4, -100.0, 0.0, 100.0, 1e4])
  gradients = jax.grad(lambda policy, data: jnp.sum(dual_kl(policy, data)), (0, 1))(scores, scores)
  assert np.isfinite(dual_kl(scores, -scores)).all()
  assert np.isfinite(gradients).all()


def test_a_trained_discriminator_finds_the_divergence_of_two_gaussians():
  """KL(N(m, 1) || N(0, 1)) = m^2 / 2, on quantiles in the place of samples."""
  mean = 1.2
  data = jnp.asarray(norm.ppf((np.arange(1000) + 0.5) / 1000), jnp.float32)[:, None]
  discriminator = value_network(1, (32, 32), layer="dense")
  optimizer = optax.adam(3e-3)

  def estimate(params):
    return jnp.mean(dual_kl(discriminator.apply(params, data + mean), discriminator.apply(params, data)))

  def step(carry, _):
    params, opt_state = carry
    updates, opt_state = optimizer.update(jax.grad(lambda params: -estimate(params))(params), opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  params = discriminator.init(jax.random.key(0))
  assert estimate(params) < 0.3  # an untrained one sees little
  (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=500))((params, optimizer.init(params)))
  np.testing.assert_allclose(estimate(params), mean**2 / 2, atol=0.03)


@pytest.mark.parametrize(
  ("slope", "expected"), [((3.0, 0.0), 20.0), ((0.0, -3.0), 20.0), ((0.6, 0.8), 0.0), ((0.0, 0.0), 0.0)]
)
def test_gradient_penalty_of_linear_scores(slope, expected):
  # 5 (3 - 1)^2 whatever the action; nothing up to norm one.
  action = jax.random.normal(jax.random.key(0), (4, 3, 2))
  weights = jnp.array(slope)
  gradient = jax.grad(lambda action: jnp.sum(action @ weights))(action)
  np.testing.assert_allclose(gradient_penalty(gradient), expected, rtol=1e-6)
  through = jax.grad(lambda weights: gradient_penalty(jnp.broadcast_to(weights, (4, 2))))(weights)
  # d/dw 5 (||w|| - 1)^2 = 10 (||w|| - 1) w / ||w||, and no NaN at w = 0.
  np.testing.assert_allclose(through, 20.0 * weights / 3.0 if expected else jnp.zeros(2), atol=1e-5)


def test_score_penalty_counts_what_a_score_is_beyond_one():
  # 5 times the mean of 0, 0, 4 and 1.
  scores = jnp.array([[0.0, -0.9], [3.0, -2.0]])
  np.testing.assert_allclose(score_penalty(scores), 6.25, rtol=1e-6)
  np.testing.assert_allclose(score_penalty(scores, weight=2.0), 2.5, rtol=1e-6)
  # 10 / 4 of the excess, by the sign of the score, and no NaN at a score of zero.
  np.testing.assert_allclose(jax.grad(score_penalty)(scores), [[0.0, 0.0], [5.0, -2.5]], atol=1e-6)


def test_distance_of_scores_is_their_difference():
  np.testing.assert_array_equal(dual_wasserstein(jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])), [0.5, -5.0])


def test_multiplier_climbs_by_its_rate_times_the_excess():
  gradient = jax.grad(multiplier_loss)(jnp.array(500.0), jnp.array([0.2, 0.4]), target=0.05)
  optimizer = optax.sgd(1.0)
  step, _ = optimizer.update(gradient, optimizer.init(jnp.array(500.0)))
  np.testing.assert_allclose(500.0 + step, 500.25)


def test_multiplier_loss_holds_the_divergence_fixed():
  gradient = jax.grad(multiplier_loss, 1)(jnp.array(2.0), jnp.array([0.2, 0.4]), target=0.05)
  np.testing.assert_array_equal(gradient, jnp.zeros(2))
