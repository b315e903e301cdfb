"""The search for the lowest latent, on objectives whose minima are known."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.adaptation.descend import best_of_descents

CURVATURE = jnp.array([[3.0, 1.0], [1.0, 2.0]])
CENTRE = jnp.array([0.4, -0.7])
STARTS = jnp.array([[3.0, 3.0], [0.0, 0.0], [-2.0, -1.0]])  # the centre lies between them


def bowl(latent):
  return 0.5 * (latent - CENTRE) @ CURVATURE @ (latent - CENTRE)


def wells(latent):
  """Minima at -1.02 and 0.97; the left one is lower, and what starts right of 0.05 falls into the right one."""
  return jnp.sum(jnp.square(jnp.square(latent) - 1.0) + 0.2 * latent)


def test_the_minimum_of_a_bowl():
  found = best_of_descents(bowl, STARTS, kept=2, steps=200, step_size=0.1)
  np.testing.assert_allclose(found, CENTRE, atol=1e-3)


def test_it_stays_in_the_box_of_the_starts():
  # Along the upper edge of the box, where the bowl is lowest at 3 (x - 0.4) + (y + 0.7) = 0.
  upper = jnp.array([[-1.0, 1.0], [1.0, 0.5]])
  found = best_of_descents(bowl, upper, kept=2, steps=200, step_size=0.1)
  np.testing.assert_allclose(found, [0.0, 0.5], atol=1e-3)


def test_compiled_and_over_tasks_it_finds_the_same():
  tilts = jnp.array([[0.0, 0.0], [1.0, -2.0]])

  def search(tilt):
    return best_of_descents(lambda z: bowl(z) + tilt @ z, STARTS, kept=2, steps=200, step_size=0.1)

  found = jax.jit(jax.vmap(search))(tilts)
  np.testing.assert_allclose(found, CENTRE - jnp.linalg.solve(CURVATURE, tilts.T).T, atol=1e-3)


def test_it_descends_from_the_best_starts_and_takes_the_lowest_end():
  right, left = jnp.array([1.1]), jnp.array([-2.0])
  assert wells(right) < wells(left)  # although the minimum left of it is lower
  search = lambda kept: best_of_descents(wells, jnp.stack([left, right]), kept=kept, steps=200, step_size=0.05)  # noqa: E731
  np.testing.assert_allclose(search(1), 0.9741, atol=1e-2)
  np.testing.assert_allclose(search(2), -1.0238, atol=1e-2)
  np.testing.assert_array_equal(search(2), search(5))  # of two


def test_it_is_never_worse_than_the_best_start():
  near = CENTRE + 1e-3  # a step of fifty leads to a corner of the box
  found = best_of_descents(bowl, jnp.stack([STARTS[0], near]), kept=2, steps=1, step_size=50.0)
  np.testing.assert_array_equal(found, near)


def test_the_end_of_the_last_step_counts():
  slope = lambda latent: latent[0] + 10.0 * latent[1] ** 2  # noqa: E731
  # Adam's step down an even slope is as long as its size says; the second one has half of it.
  found = best_of_descents(slope, jnp.array([[1.0, 0.0], [0.0, 1.0]]), kept=1, steps=2, step_size=0.2)
  np.testing.assert_allclose(found, [1.0 - 0.2 - 0.1, 0.0], rtol=1e-5)
