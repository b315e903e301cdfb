import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.evaluation.decoding import (
  cross_validated_r_squared,
  fit_decoder,
  flatten_features,
  measure_decoding,
)


def linear_data(num_tasks=12, supports=5, num_features=3, noise=0.0):
  """Features that are linear in two parameters of the tasks, in units far from one; and what made them."""
  rng = np.random.default_rng(0)
  parameters = rng.normal(size=(num_tasks, 2)) * [5.0, 0.01] + [100.0, -3.0]
  of_rows = np.repeat(parameters, supports, axis=0)
  features = (of_rows / [5.0, 0.01]) @ rng.normal(size=(2, num_features))
  features = features * 1000.0 + 7.0 + noise * rng.normal(size=features.shape)
  return features, of_rows, np.repeat(np.arange(num_tasks), supports), parameters


def test_a_linear_code_is_decoded_exactly_in_tasks_that_were_not_fitted():
  features, parameters, groups, of_tasks = linear_data()
  fitted = groups < 8
  decoder = fit_decoder(features[fitted], parameters[fitted], groups[fitted])
  np.testing.assert_allclose(decoder(features[~fitted]), parameters[~fitted], rtol=1e-4)
  found = measure_decoding(decoder, features[~fitted], parameters[~fitted], of_tasks[:8])
  assert found.r_squared > 0.9999
  assert found.error < 1e-3 * found.chance


def test_noise_is_decoded_no_better_than_chance():
  _, parameters, groups, of_tasks = linear_data()
  features = np.random.default_rng(1).normal(size=(len(groups), 400))
  fitted = groups < 8
  decoder = fit_decoder(features[fitted], parameters[fitted], groups[fitted])
  found = measure_decoding(decoder, features[~fitted], parameters[~fitted], of_tasks[:8])
  assert found.r_squared < 0.3
  # Leaving whole tasks out shows that there is nothing to read: it answers near the mean of the fitted tasks.
  spread = np.std(decoder(features[~fitted]), axis=0) / np.std(parameters[fitted], axis=0)
  assert spread.max() < 0.5


def test_the_dual_form_is_ridge_regression():
  features, parameters, groups, _ = linear_data(num_features=6, noise=500.0)
  penalty = 0.01
  decoder = fit_decoder(features, parameters, groups, penalties=[penalty])
  x = (features - features.mean(axis=0)) / features.std(axis=0)
  y = (parameters - parameters.mean(axis=0)) / parameters.std(axis=0)
  strength = penalty * np.mean(np.sum(x**2, axis=1))
  weights = np.linalg.solve(x.T @ x + strength * np.eye(6), x.T @ y)
  expected = x @ weights * parameters.std(axis=0) + parameters.mean(axis=0)
  np.testing.assert_allclose(decoder(features), expected, rtol=1e-9)


def error_on_left_out_groups(features, parameters, groups, penalty):
  """The squared error of ridge regressions with an intercept, each fitted without one group, and the variance."""
  x = (features - features.mean(axis=0)) / features.std(axis=0)
  y = (parameters - parameters.mean(axis=0)) / parameters.std(axis=0)
  strength, total = penalty * np.mean(np.sum(x**2, axis=1)), 0.0
  for group in np.unique(groups):
    kept = groups != group
    mean_x, mean_y = x[kept].mean(axis=0), y[kept].mean(axis=0)
    gram = (x[kept] - mean_x).T @ (x[kept] - mean_x) + strength * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x[kept] - mean_x).T @ (y[kept] - mean_y))
    total += np.sum((mean_y + (x[~kept] - mean_x) @ weights - y[~kept]) ** 2)
  return total, np.sum(y**2)


def test_the_penalty_is_that_of_the_smallest_error_on_left_out_groups():
  features, parameters, groups, _ = linear_data(num_tasks=6, num_features=40, noise=2000.0)
  penalties = (1e-6, 1e-2, 1.0)
  best = min(penalties, key=lambda penalty: error_on_left_out_groups(features, parameters, groups, penalty)[0])
  chosen = fit_decoder(features, parameters, groups, penalties=penalties)
  alone = fit_decoder(features, parameters, groups, penalties=[best])
  np.testing.assert_array_equal(chosen.dual, alone.dual)


def test_what_does_not_move_is_no_feature_and_no_parameter():
  features, parameters, groups, of_tasks = linear_data()
  still = np.full((len(groups), 1), 3.0)
  with_still = np.concatenate([features, still], axis=1), np.concatenate([parameters, still], axis=1)
  decoder = fit_decoder(*with_still, groups)
  np.testing.assert_allclose(decoder(with_still[0] + [0.0, 0.0, 0.0, 50.0]), with_still[1], rtol=1e-4)
  found = measure_decoding(decoder, *with_still, np.concatenate([of_tasks, still[: len(of_tasks)]], axis=1))
  assert found.r_squared > 0.9999


def test_one_support_on_which_adaptation_diverged_does_not_decide():
  features, parameters, groups, _ = linear_data()
  decoder = fit_decoder(features, parameters, groups)
  diverged = features.copy()
  diverged[0] = 1e30
  farthest = np.abs(decoder(diverged)[0] - parameters.mean(axis=0)) / parameters.std(axis=0)
  assert farthest.max() < 100.0
  np.testing.assert_allclose(decoder(diverged)[1:], parameters[1:], rtol=1e-4)


def test_measures_by_hand():
  decoder = fit_decoder(np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]]), np.arange(2), penalties=[1e-12])
  # Decodes 2 x: 3 and 5 where 2 and 6 are true. Squared errors 1 + 1, variance 4 + 4.
  found = measure_decoding(decoder, np.array([[1.5], [2.5]]), np.array([[2.0], [6.0]]), np.array([[0.0], [4.0]]))
  np.testing.assert_allclose(found, [0.75, 1.0, 3.0], rtol=1e-6)  # distances 2, 2, 6, 2
  alone = measure_decoding(decoder, np.array([[1.5]]), np.array([[2.0]]), np.array([[0.0]]))
  assert np.isnan(alone.r_squared)


def test_supports_of_one_task_have_no_r_squared_however_many_they_are():
  features, parameters, groups, _ = linear_data()
  decoder = fit_decoder(features, 2.0 + 0.001 * parameters[:, :1], groups)
  same = np.full((39, 1), 2.3)
  assert same.mean() != 2.3  # Of equal numbers the mean is rounded.
  assert np.isnan(measure_decoding(decoder, features[:39], same, same[:2]).r_squared)


def test_features_are_all_leaves_side_by_side():
  adapted = {"policy": {"w": jnp.arange(12.0).reshape(2, 2, 3), "b": jnp.zeros((2,))}, "latent": jnp.ones((2, 1))}
  features = flatten_features(adapted)
  np.testing.assert_array_equal(features, [[1, 0, 0, 1, 2, 3, 4, 5], [1, 0, 6, 7, 8, 9, 10, 11]])
  assert features.dtype == np.float64


@pytest.mark.parametrize(
  ("features", "groups", "message"),
  [([[0.0], [1.0]], [3, 3], "two groups or more, got 1"), ([[np.nan], [1.0]], [0, 1], "expected finite values")],
)
def test_what_cannot_be_fitted_is_refused(features, groups, message):
  with pytest.raises(ValueError, match=message):
    fit_decoder(np.array(features), np.array([[0.0], [1.0]]), np.array(groups))


@pytest.mark.parametrize("penalty", [1e-5, 1e-3, 1.0])
def test_cross_validated_r_squared_is_that_of_maps_fitted_without_the_group(penalty):
  features, parameters, groups, _ = linear_data(num_tasks=6, num_features=4, noise=2000.0)
  error, variance = error_on_left_out_groups(features, parameters, groups, penalty)
  found = cross_validated_r_squared(features, parameters, groups, penalties=[penalty])
  np.testing.assert_allclose(found, 1.0 - error / variance, rtol=1e-7)


def test_cross_validated_r_squared_of_equal_parameters_is_none():
  features, parameters, groups, _ = linear_data()
  assert np.isnan(cross_validated_r_squared(features, np.ones_like(parameters), groups))
