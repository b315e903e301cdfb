import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.networks.running_scale import RunningScale, initial_scale, standardise, update_scale


def batches(count, rows=8, seed=0):
  return np.asarray(3.0 + 2.0 * jax.random.normal(jax.random.key(seed), (count, rows, 2)))


def scale_of(rows_of_updates, **options):
  scale = initial_scale(2)
  for rows in rows_of_updates:
    scale = update_scale(scale, rows, **options)
  return scale


def test_before_any_row_rows_pass_unchanged():
  rows = jnp.array([[1e3, -0.5]])
  np.testing.assert_array_equal(standardise(initial_scale(2), rows), rows)


def test_moments_by_hand():
  scale = scale_of([jnp.array([[1.0, 0.0], [3.0, 2.0]]), jnp.array([[4.0, 5.0], [4.0, 1.0]])])
  # Means 2, 1 and 4, 3; mean squares 5, 2 and 16, 13.
  assert scale.count == 2.0
  np.testing.assert_allclose(scale.mean, [3.0, 2.0])
  np.testing.assert_allclose(scale.mean_square, [10.5, 7.5])
  # Variances 10.5 - 9 and 7.5 - 4.
  expected = [[(5.0 - 3.0) / np.sqrt(1.5), (1.0 - 2.0) / np.sqrt(3.5)]]
  np.testing.assert_allclose(standardise(scale, jnp.array([[5.0, 1.0]])), expected, rtol=1e-6)


def test_moments_are_those_of_all_rows_so_far_and_standardise_them():
  rows = batches(20)
  scale = scale_of(rows)
  np.testing.assert_allclose(scale.mean, rows.mean((0, 1)), rtol=1e-5)
  np.testing.assert_allclose(scale.mean_square, np.square(rows).mean((0, 1)), rtol=1e-5)
  standardised = standardise(scale, rows)
  np.testing.assert_allclose(jnp.mean(standardised, (0, 1)), np.zeros(2), atol=1e-4)
  np.testing.assert_allclose(jnp.std(standardised, (0, 1)), np.ones(2), rtol=1e-4)


def test_all_leading_axes_are_rows():
  rows = batches(3)
  for once, flat in zip(update_scale(initial_scale(2), rows), scale_of([rows.reshape(-1, 2)]), strict=True):
    np.testing.assert_array_equal(once, flat)


def test_after_the_largest_count_the_mean_is_exponential():
  scale = scale_of([jnp.full((1, 2), 1.0)] * 4, max_count=4.0)
  scale = update_scale(scale, jnp.full((1, 2), 5.0), max_count=4.0)
  # 1 + (5 - 1) / 4 and 1 + (25 - 1) / 4; a fifth batch of a plain mean would weigh 1/5.
  assert scale.count == 4.0
  np.testing.assert_allclose(scale.mean, [2.0, 2.0])
  np.testing.assert_allclose(scale.mean_square, [7.0, 7.0])


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_standardised_rows_do_not_depend_on_the_unit(size):
  rows = batches(5)
  np.testing.assert_allclose(
    standardise(scale_of(size * rows), size * rows), standardise(scale_of(rows), rows), rtol=1e-3, atol=1e-3
  )


@pytest.mark.parametrize("constant", [-700.1, 0.0, 1e-20, 1e-3, 0.1, 12345.678])
def test_a_feature_that_never_changes_is_about_zero(constant):
  rows = jnp.full((100, 2), constant)
  np.testing.assert_allclose(standardise(scale_of([rows] * 30), rows), np.zeros((100, 2)), atol=0.02)


def test_the_standard_deviation_is_at_least_a_thousandth_of_the_size():
  # In float32, 10000.001 - 100^2 is rounding error; the bound is 0.1.
  scale = RunningScale(jnp.ones(()), jnp.array([100.0]), jnp.array([10000.001]))
  np.testing.assert_allclose(standardise(scale, jnp.array([[100.1], [99.8]])), [[1.0], [-2.0]], rtol=1e-3)


def test_rows_far_off_are_clipped():
  scale = scale_of(batches(5))
  np.testing.assert_array_equal(standardise(scale, jnp.array([[1e6, -1e6]])), [[10.0, -10.0]])


def test_updates_compile_into_a_loop_and_map_over_members():
  rows = batches(4)
  looped, _ = jax.jit(
    lambda rows: jax.lax.scan(lambda scale, rows: (update_scale(scale, rows), None), initial_scale(2), rows)
  )(rows)
  expected = scale_of(rows)
  for actual, stepped in zip(looped, expected, strict=True):
    np.testing.assert_allclose(actual, stepped, rtol=1e-6)

  both = jnp.stack([rows[0], rows[1]])
  mapped = jax.vmap(lambda rows: standardise(update_scale(initial_scale(2), rows), rows))(both)
  for member in range(2):
    np.testing.assert_allclose(
      mapped[member], standardise(scale_of([rows[member]]), rows[member]), rtol=1e-5, atol=1e-6
    )


def test_rows_of_another_width_are_refused():
  with pytest.raises(AssertionError):
    standardise(initial_scale(2), jnp.ones((4, 1)))
  with pytest.raises(AssertionError):
    update_scale(initial_scale(2), jnp.ones((4, 3)))
