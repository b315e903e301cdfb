"""The two-parameter landscape: its losses and gradients at three points, and where descent leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.learners.gradient_surgery import pcgrad
from macaw_jax.study.landscape import STARTS, STEPS, descend, gradients, losses, medians, settled

# theta, both losses, both gradients, the cosine of these, their sum, the sum of both projections.
POINTS = [
  (
    (0.5, -3.0),
    (-5.885951, 29.428306),
    ((-13.421832, -0.264841), (3.852015, -0.076008)),
    -0.999222,
    (-9.569817, -0.340849),
    (-0.007449, -0.681432),
  ),
  (
    (-3.0, -1.0),
    (16.321399, 5.809403),
    ((-4.421660, -3.713967), (9.908099, -8.322295)),
    -0.172667,
    (5.486439, -12.036262),
    (4.539111, -14.114529),
  ),
  (
    (1.0, 1.0),
    (4.647522, 13.824213),
    ((7.926479, 6.657836), (7.190496, -6.039648)),
    0.172667,
    (15.116975, 0.618188),
    (15.116975, 0.618188),
  ),
]


@pytest.mark.parametrize(("theta", "values", "of_losses", "cosine", "total", "projected"), POINTS)
def test_losses_and_gradients_at_three_points(theta, values, of_losses, cosine, total, projected):
  with jax.enable_x64(True):
    point = jnp.asarray(theta)
    np.testing.assert_allclose(losses(point), values, atol=1e-5)
    found = gradients(point)
    np.testing.assert_allclose(found, of_losses, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(found, axis=0), total, atol=1e-5)
    mean, metrics = pcgrad().combine(found, jax.random.key(0))
    np.testing.assert_allclose(2.0 * mean, projected, atol=1e-5)
    np.testing.assert_allclose(metrics["gradient_cosine"], cosine, atol=1e-5)


def test_on_a_floor_a_loss_has_a_gradient_of_zero():
  with jax.enable_x64(True):
    np.testing.assert_array_equal(gradients(jnp.zeros(2))[0], 0.0)
    np.testing.assert_allclose(losses(jnp.zeros(2))[0], -244.1215, atol=1e-4)
    np.testing.assert_allclose(losses(jnp.array([-4.0, 0.0]))[1], -305.1518, atol=1e-4)


@pytest.mark.parametrize("start", STARTS)
def test_the_sum_leaves_one_loss_high_and_surgery_lowers_both(start):
  plain = settled(descend(start, surgery=False), STEPS // 2)
  assert np.max(plain) > 0
  by_surgery = settled(descend(start, surgery=True), STEPS)
  assert np.max(by_surgery) < 0
  assert np.sum(by_surgery) < -50


def test_paths_begin_at_their_start_and_medians_are_over_windows():
  path = descend(STARTS[0], surgery=True, steps=20)
  np.testing.assert_array_equal(path.theta[0], STARTS[0])
  np.testing.assert_allclose(np.abs(path.theta[1] - path.theta[0]), 0.01, rtol=1e-3)  # Adam's first step
  found = medians(path, 5)
  assert found.shape == (4, 2)
  np.testing.assert_allclose(found[1], np.median(path.losses[5:10], axis=0))
  np.testing.assert_allclose(settled(path, 20), np.median(path.losses[18:], axis=0))
