import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.values import expectile_loss


def test_expectile_loss_by_hand():
  # Weights 0.2, 0.8 and 0.8 on squares 1, 4 and 0.
  np.testing.assert_allclose(expectile_loss(jnp.array([-1.0, 2.0, 0.0]), 0.8), (0.2 + 3.2) / 3, rtol=1e-6)


def test_one_half_is_half_the_mean_squared_error():
  difference = jax.random.normal(jax.random.key(0), (3, 5))
  np.testing.assert_allclose(expectile_loss(difference, 0.5), 0.5 * np.mean(np.square(difference)), rtol=1e-6)


@pytest.mark.parametrize("expectile", [0.5, 0.7, 0.9])
def test_minimiser_over_two_targets_is_known(expectile):
  # Of targets 0 and 1: (1 - e) v = e (1 - v), so that v = e.
  gradient = jax.grad(lambda v: expectile_loss(jnp.array([0.0, 1.0]) - v, expectile))
  np.testing.assert_allclose(gradient(expectile), 0.0, atol=1e-7)
  assert gradient(expectile - 0.1) < 0 < gradient(expectile + 0.1)
