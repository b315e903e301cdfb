"""Likelihoods, against scipy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from macaw_jax.losses.likelihood import gaussian_misfit, gaussian_surprise


def test_surprise_is_minus_the_log_density_of_each_number():
  mean, log_variance, value = jax.random.normal(jax.random.key(0), (3, 4, 5))
  expected = -norm.logpdf(value, loc=mean, scale=np.exp(0.5 * np.asarray(log_variance)))
  np.testing.assert_allclose(gaussian_surprise(mean, log_variance, value), expected, rtol=1e-5)


def test_surprise_by_hand():
  # (3 - 1)^2 / 4 = 1 and log 4, beside log 2 pi.
  found = gaussian_surprise(jnp.array(1.0), jnp.log(4.0), jnp.array(3.0))
  np.testing.assert_allclose(found, 0.5 * (1.0 + np.log(4.0) + np.log(2.0 * np.pi)), rtol=1e-6)


def test_misfit_by_hand():
  # (3 - 1)^2 / 4 = 1 and log 4.
  found = gaussian_misfit(jnp.array(1.0), jnp.log(4.0), jnp.array(3.0))
  np.testing.assert_allclose(found, 1.0 + np.log(4.0), rtol=1e-6)


def test_it_is_least_at_the_error_s_own_variance():
  for error in (0.3, 2.0):
    slope = jax.grad(lambda log_variance, error=error: gaussian_surprise(jnp.zeros(()), log_variance, jnp.array(error)))
    np.testing.assert_allclose(slope(jnp.log(error**2)), 0.0, atol=1e-6)
    assert slope(jnp.log(error**2) + 0.1) > 0 > slope(jnp.log(error**2) - 0.1)


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(AssertionError):
    gaussian_surprise(jnp.zeros(2), jnp.zeros(()), jnp.zeros(2))
