from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.feature_baseline import cubic_features, fit_baseline, quadratic_features
from macaw_jax.losses.returns import generalised_advantage, normalise_advantage, returns_to_go

RIDGE = 1e-5


def ridge_in_double_precision(features, target, mask):
  """The same regression by singular values in double precision, with columns of one length: values `[...]`."""
  rows = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
  target, valid = np.asarray(target, np.float64), np.asarray(mask).reshape(-1) > 0
  unit = np.maximum(np.linalg.norm(rows[valid], axis=0), 1e-9)
  system = np.concatenate([rows[valid], np.sqrt(RIDGE) * np.eye(rows.shape[1])]) / unit
  weights = np.linalg.lstsq(system, np.append(target.reshape(-1)[valid], np.zeros(rows.shape[1])), rcond=None)[0]
  return (valid * (rows / unit @ weights)).reshape(target.shape)


def assert_like_double_precision(features, target, mask, tolerance=1e-3):
  values = np.asarray(fit_baseline(features, target, mask))
  expected = ridge_in_double_precision(features, target, mask)
  assert values.dtype == np.float32
  assert np.max(np.abs(values - expected)) < tolerance * np.std(target)


def cartpole_without_velocities(key, position_spread):
  """25 episodes of 500 steps that end somewhere, rewarded 1 a step, with a discount of 0.97."""
  position_key, angle_key, length_key = jax.random.split(key, 3)
  length = jax.random.randint(length_key, (25, 1), 10, 501)
  step = jnp.arange(500)[None]
  mask = (step < length).astype(jnp.float32)
  position = position_spread * jnp.cumsum(jax.random.normal(position_key, (25, 500)), axis=1) / 20.0
  angle = 0.5 * jnp.sin(step / 7.0 + jax.random.uniform(angle_key, (25, 1), maxval=6.0))
  hidden = -jnp.ones((25, 500))
  observation = jnp.stack([position, hidden, angle, hidden], axis=-1)
  return observation, returns_to_go(mask, 0.97), mask


# Features


def test_features_by_hand():
  observation = jnp.array([[[2.0, -1.0], [0.5, -20.0]]])  # One episode of two steps.
  cubic = [[2, -1, 4, 1, 8, -1, 0, 0, 0, 1], [0.5, -20, 0.25, 400, 0.125, -8000, 0.5, 0.25, 0.125, 1]]
  np.testing.assert_allclose(cubic_features(observation)[0], cubic)
  quadratic = [[2, -1, 4, 1, 0, 0, 0, 1], [0.5, -10, 0.25, 100, 0.01, 1e-4, 1e-6, 1]]
  np.testing.assert_allclose(quadratic_features(observation)[0], quadratic, rtol=1e-6)


# The fit


def test_rounding_leaves_little_of_the_columns_in_the_residual_of_few_rows():
  """It becomes the advantage, and a gradient sums it over features that are like the columns."""
  fit, mask, shares = jax.jit(fit_baseline), jnp.ones((4, 6)), []
  for key in jax.random.split(jax.random.key(5), 20):
    observation_key, target_key = jax.random.split(key)
    features = cubic_features(jax.random.normal(observation_key, (4, 6, 3)))
    target = returns_to_go(jax.random.normal(target_key, (4, 6)), 0.9)
    expected = ridge_in_double_precision(features, target, mask)
    wrong = (np.asarray(fit(features, target, mask), np.float64) - expected).ravel()
    columns, _ = np.linalg.qr(np.asarray(features, np.float64).reshape(24, -1))
    shares.append(np.linalg.norm(columns.T @ wrong) / np.linalg.norm(np.asarray(target, np.float64) - expected))
  assert np.median(shares) < 6e-7


def test_targets_cubic_in_the_features_are_predicted():
  features = cubic_features(jax.random.uniform(jax.random.key(0), (25, 10, 2), minval=-1.0))
  target = features @ jnp.array([1.0, -2.0, 0.5, 3.0, -1.0, 2.0, -4.0, 1.5, 0.5, 7.0])
  np.testing.assert_allclose(fit_baseline(features, target, jnp.ones((25, 10))), target, atol=1e-3)


def test_ridge_by_hand():
  # One feature of value 1 on two rows, ridge 2: the weight is the sum of the targets over 2 + 2.
  values = fit_baseline(jnp.ones((2, 1)), jnp.array([3.0, 5.0]), jnp.ones(2), ridge=2.0)
  np.testing.assert_allclose(values, 2.0, rtol=1e-6)
  # Whitened, the targets are -1 and 1 about 4: nothing is left for the weight.
  whitened = fit_baseline(jnp.ones((2, 1)), jnp.array([3.0, 5.0]), jnp.ones(2), ridge=2.0, whiten=True)
  np.testing.assert_allclose(whitened, 4.0, rtol=1e-6)


@pytest.mark.parametrize("position_spread", [0.1, 1e-2, 1e-4, 1e-6])
def test_constant_and_nearly_constant_observations_are_fitted_as_in_double_precision(position_spread):
  observation, target, mask = cartpole_without_velocities(jax.random.key(1), position_spread)
  assert np.max(target) > 30.0
  assert_like_double_precision(cubic_features(observation), target, mask)
  assert_like_double_precision(quadratic_features(observation), target, mask)


def test_the_normal_equations_in_single_precision_would_fail_here():
  observation = cartpole_without_velocities(jax.random.key(1), 1e-2)[0]
  rows = np.asarray(cubic_features(observation)).reshape(12500, -1)
  assert np.linalg.matrix_rank(rows.T @ rows + np.float32(RIDGE) * np.eye(16, dtype=np.float32)) < 16


def test_large_constant_observations_do_no_harm():
  observation, target, mask = cartpole_without_velocities(jax.random.key(2), 1e-2)
  assert_like_double_precision(cubic_features(1000.0 * observation), target, mask)


def test_velocities_of_a_running_body_are_fitted_as_in_double_precision():
  observation_key, target_key = jax.random.split(jax.random.key(3))
  spread = jnp.concatenate([jnp.full((7,), 0.5), jnp.full((7,), 10.0)])
  observation = spread * jax.random.normal(observation_key, (50, 200, 14))
  target = 100.0 + observation[..., 8] + 5.0 * jax.random.normal(target_key, (50, 200))
  assert_like_double_precision(cubic_features(observation), target, jnp.ones((50, 200)))


def test_a_constant_added_to_the_rewards_of_one_step_episodes_leaves_the_advantage():
  observation_key, reward_key = jax.random.split(jax.random.key(4))
  features = cubic_features(jax.random.normal(observation_key, (25, 1, 2)))
  reward = jax.random.normal(reward_key, (25, 1))
  advantage = reward - fit_baseline(features, reward, jnp.ones((25, 1)))
  shifted = reward + 10.0 - fit_baseline(features, reward + 10.0, jnp.ones((25, 1)))
  assert np.std(advantage) > 0.1
  np.testing.assert_allclose(shifted, advantage, atol=1e-3)


def test_masked_rows_are_not_read_and_have_the_value_zero():
  observation, target, mask = cartpole_without_velocities(jax.random.key(5), 1e-2)
  features = cubic_features(observation)
  values = fit_baseline(features, target, mask)
  for filling in (1e6, jnp.nan):
    filled = fit_baseline(jnp.where(mask[..., None] > 0, features, filling), jnp.where(mask > 0, target, filling), mask)
    np.testing.assert_array_equal(filled, values)
  np.testing.assert_array_equal(np.asarray(values)[np.asarray(mask) == 0], 0.0)
  # As if they were not there.
  kept = np.asarray(mask) > 0
  cut = fit_baseline(features[kept], target[kept], mask[kept])
  np.testing.assert_allclose(cut, values[kept], atol=1e-3)


def test_with_nothing_valid_all_values_are_zero():
  values = fit_baseline(jnp.ones((3, 2)), jnp.ones(3), jnp.zeros(3), whiten=True)
  np.testing.assert_array_equal(values, 0.0)


def test_whitening_is_that_of_the_targets_and_undone():
  observation, target, mask = cartpole_without_velocities(jax.random.key(6), 1e-2)
  features = cubic_features(observation)
  valid = np.asarray(target, np.float64)[np.asarray(mask) > 0]
  whitened = (target - valid.mean()) / valid.std()
  expected = valid.mean() + valid.std() * ridge_in_double_precision(features, whitened, mask)
  values = fit_baseline(features, target, mask, whiten=True)
  np.testing.assert_allclose(values, np.asarray(mask) * expected, atol=1e-3 * valid.std())


def test_whitened_equal_targets_are_predicted():
  features = cubic_features(jax.random.normal(jax.random.key(7), (25, 10, 2)))
  target = jnp.full((25, 10), 33.3)
  np.testing.assert_allclose(fit_baseline(features, target, jnp.ones((25, 10)), whiten=True), target, rtol=1e-6)


def test_tasks_and_switches_may_be_mapped():
  observation = jax.random.normal(jax.random.key(8), (3, 25, 10, 2))
  target = jnp.sum(observation, axis=-1) ** 4
  mask, whiten = jnp.ones((3, 25, 10)).at[1, :, 6:].set(0.0), jnp.array([False, True, True])
  features = cubic_features(observation)
  together = jax.jit(jax.vmap(lambda *task, whiten: fit_baseline(*task, whiten=whiten)))(
    features, target, mask, whiten=whiten
  )
  for task in range(3):
    alone = fit_baseline(features[task], target[task], mask[task], whiten=bool(whiten[task]))
    np.testing.assert_allclose(together[task], alone, atol=1e-3)


def test_values_are_held_fixed():
  features, target = cubic_features(jnp.ones((2, 5, 1))), jnp.arange(10.0).reshape(2, 5)

  def total(features, target):
    return jnp.sum(fit_baseline(features, target, jnp.ones((2, 5)), whiten=True))

  for gradient in jax.grad(total, argnums=(0, 1))(features, target):
    np.testing.assert_array_equal(gradient, 0.0)


def test_what_cannot_be_fitted():
  fit = partial(fit_baseline, jnp.ones((3, 2)), jnp.ones(3))
  with pytest.raises(ValueError, match=r"ridge=0\.0 must be positive"):
    fit(jnp.ones(3), ridge=0.0)
  with pytest.raises(AssertionError):
    fit(jnp.ones((3, 1)))
  with pytest.raises(AssertionError):
    fit_baseline(jnp.ones((4, 2)), jnp.ones(3), jnp.ones(3))


@pytest.mark.parametrize("value", [1.0, 1000.0, -33.3])
def test_what_a_fit_leaves_of_equal_returns_is_no_advantage(value):
  """It is a rounding error, and standardised it would be as large as any."""
  observation = jax.random.normal(jax.random.key(0), (25, 50, 3))
  reward = jnp.zeros((25, 50)).at[:, -1].set(value)  # undiscounted: every return is the same
  mask = jnp.ones((25, 50))
  fitted = fit_baseline(cubic_features(observation), returns_to_go(reward, 1.0), mask)
  advantage = generalised_advantage(reward, fitted, mask, 1.0, 1.0)
  size = jnp.sqrt(jnp.mean(jnp.square(fitted)))
  assert jnp.any(advantage != 0)
  np.testing.assert_array_equal(normalise_advantage(advantage, mask, size), jnp.zeros_like(advantage))
