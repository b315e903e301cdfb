import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.returns import decayed_sum, generalised_advantage, masked_mean, normalise_advantage, returns_to_go

# Two episodes of three steps, of which the second ended after two; what stands behind its end is to be ignored.
REWARD = jnp.array([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]])
VALUE = jnp.array([[2.0, 6.0, 8.0], [4.0, 2.0, 100.0]])
MASK = jnp.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def advantage(lambda_, discount=0.5):
  return generalised_advantage(REWARD, VALUE, MASK, discount, lambda_)


def test_decayed_sums_by_hand_in_both_directions():
  values = jnp.array([1.0, 2.0, 4.0])
  np.testing.assert_allclose(decayed_sum(values, 0.5), [1.0, 2.5, 5.25])
  np.testing.assert_allclose(decayed_sum(values, 0.5, reverse=True), [3.0, 4.0, 4.0])
  np.testing.assert_allclose(decayed_sum(values, 1.0), jnp.cumsum(values))
  np.testing.assert_allclose(decayed_sum(values, 0.0), values)


def test_returns_to_go_by_hand():
  np.testing.assert_allclose(returns_to_go(REWARD, 0.5), [[3.0, 4.0, 4.0], [5.5, 5.0, 0.0]])
  np.testing.assert_allclose(returns_to_go(REWARD, 1.0), [[7.0, 6.0, 4.0], [8.0, 5.0, 0.0]])
  np.testing.assert_array_equal(returns_to_go(REWARD, 0.0), REWARD)


def test_returns_to_go_take_any_leading_axes_and_a_traced_discount():
  reward = jax.random.normal(jax.random.key(0), (2, 3, 5))
  of_discounts = jax.jit(jax.vmap(returns_to_go, in_axes=(None, 0)))(reward, jnp.array([0.0, 0.9]))
  np.testing.assert_array_equal(of_discounts[0], reward)
  np.testing.assert_allclose(of_discounts[1, 1, 2], returns_to_go(reward[1, 2], 0.9), rtol=1e-6)


def test_lambda_zero_is_the_one_step_error_with_nothing_after_the_last_step():
  np.testing.assert_allclose(advantage(0.0), [[1 + 3 - 2, 2 + 4 - 6, 4 - 8], [3 + 1 - 4, 5 - 2, 0]])


def test_lambda_one_is_the_return_minus_the_value():
  np.testing.assert_allclose(advantage(1.0), (returns_to_go(REWARD, 0.5) - VALUE) * MASK)


def test_lambda_half_by_hand():
  # The errors (2, 0, -4) and (0, 3), each worth a quarter of itself one step earlier.
  np.testing.assert_allclose(advantage(0.5), [[2 + 0 - 4 / 16, 0 - 4 / 4, -4], [3 / 4, 3, 0]])


def test_advantages_do_not_read_what_is_masked():
  filled = [jnp.where(MASK > 0, array, jnp.nan) for array in (REWARD, VALUE)]
  np.testing.assert_array_equal(generalised_advantage(*filled, MASK, 0.5, 0.5), advantage(0.5))
  cut = generalised_advantage(REWARD[1, :2], VALUE[1, :2], MASK[1, :2], 0.5, 0.5)
  np.testing.assert_array_equal(cut, advantage(0.5)[1, :2])


def test_masked_mean_is_over_valid_entries_and_zero_if_there_are_none():
  np.testing.assert_allclose(masked_mean(VALUE.at[1, 2].set(jnp.nan), MASK), 22.0 / 5.0)
  assert masked_mean(VALUE, jnp.zeros_like(MASK)) == 0.0
  np.testing.assert_array_equal(jax.grad(masked_mean)(VALUE, MASK), MASK / 5.0)


def test_normalised_advantages_by_hand():
  values = jnp.array([[1.0, 2.0], [6.0, 1e6]])
  mask = jnp.array([[1.0, 1.0], [1.0, 0.0]])
  # Mean 3, variance (4 + 1 + 9) / 3.
  expected = np.array([[-2.0, -1.0], [3.0, 0.0]]) / np.sqrt(14.0 / 3.0)
  np.testing.assert_allclose(normalise_advantage(values, mask), expected, rtol=1e-6)
  np.testing.assert_allclose(normalise_advantage(100.0 * values + 7.0, mask), expected, rtol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 1.0, 33.3, -1234.567, 1e6 / 3])
def test_equal_advantages_become_exact_zeros_with_a_finite_gradient(constant):
  values, mask = jnp.full((25, 10), constant), jnp.ones((25, 10)).at[3, 4:].set(0.0)
  np.testing.assert_array_equal(normalise_advantage(values, mask), 0.0)
  gradient = jax.grad(lambda values: jnp.sum(jnp.square(normalise_advantage(values, mask))))(values)
  assert np.all(np.isfinite(gradient))


def test_advantages_that_differ_by_rounding_only_become_exact_zeros():
  values = jnp.array([0.0, 1e-7, -1e-7, 2e-7])
  np.testing.assert_array_equal(normalise_advantage(values, jnp.ones(4)), 0.0)
  np.testing.assert_allclose(jnp.std(normalise_advantage(1e3 * values, jnp.ones(4))), 1.0, rtol=1e-5)


def test_of_no_valid_entry_all_are_zero():
  np.testing.assert_array_equal(normalise_advantage(VALUE, jnp.zeros_like(MASK)), 0.0)


def test_shapes_are_checked():
  with pytest.raises(AssertionError):
    generalised_advantage(REWARD, VALUE[:, :2], MASK, 0.5, 0.5)
  with pytest.raises(AssertionError):
    masked_mean(REWARD, MASK[0])
