"""Gaussians whose log variances lie between learned bounds, by hand and in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.networks.bounded_gaussian import bounded_gaussian, soft_bounds, width_of_bounds

KEY = jax.random.key(0)
LOW, HIGH = jnp.array(-2.0), jnp.array(1.0)


def test_bounds_by_hand():
  # x = 1 - log(1 + e), and -2 + log(1 + e^(x + 2)).
  below = 1.0 - np.log1p(np.e)
  np.testing.assert_allclose(soft_bounds(jnp.array(0.0), LOW, HIGH), -2.0 + np.log1p(np.exp(below + 2.0)), rtol=1e-6)


def test_numbers_far_beyond_the_bounds_end_there():
  np.testing.assert_allclose(soft_bounds(jnp.array(-50.0), LOW, HIGH), -2.0, atol=1e-6)
  # Above, the second softplus adds log(1 + e^(low - high)).
  np.testing.assert_allclose(soft_bounds(jnp.array(50.0), LOW, HIGH), 1.0 + np.log1p(np.exp(-3.0)), rtol=1e-6)


def test_between_bounds_far_away_numbers_stay_and_bounds_have_no_gradient():
  raw = jnp.linspace(-3.0, 3.0, 7)
  np.testing.assert_allclose(soft_bounds(raw, jnp.array(-40.0), jnp.array(40.0)), raw, atol=1e-5)
  slopes = jax.grad(soft_bounds, argnums=(0, 1, 2))(jnp.array(0.3), jnp.array(-40.0), jnp.array(40.0))
  np.testing.assert_allclose(slopes, (1.0, 0.0, 0.0), atol=1e-6)


def test_means_come_first_and_each_number_has_bounds_of_its_own():
  network = bounded_gaussian(4, 3, (6,))
  params = network.init(KEY)
  np.testing.assert_allclose(width_of_bounds(params), 3 * 10.5, rtol=1e-6)  # -10 to 0.5
  inputs = jax.random.normal(KEY, (2, 5, 4))
  layers = params["network"]
  hidden = jax.nn.relu(inputs @ layers["layer_0"]["kernel"] + layers["layer_0"]["bias"])
  outputs = hidden @ layers["layer_1"]["kernel"] + layers["layer_1"]["bias"]
  params |= {"min_log_variance": jnp.array([-1.0, -2.0, -3.0]), "max_log_variance": jnp.array([0.0, 1.0, 2.0])}
  mean, log_variance = network.apply(params, inputs)
  np.testing.assert_allclose(mean, outputs[..., :3], rtol=1e-5, atol=1e-6)
  expected = soft_bounds(outputs[..., 3:], params["min_log_variance"], params["max_log_variance"])
  np.testing.assert_allclose(log_variance, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(width_of_bounds(params), 9.0)
