"""Gaussian policies with a learned standard deviation, by hand and against scipy's normal distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from macaw_jax.networks.gaussian import (
  LOG_STD_FLOOR,
  act_with_gaussian,
  kl_divergence,
  learned_gaussian_policy,
  log_prob,
  sample,
)
from macaw_jax.networks.learned_advantage import learned_advantage_function
from macaw_jax.types import ActionDistribution, TimeStep

KEY = jax.random.key(0)
OBSERVATION = jax.random.normal(jax.random.key(1), (7, 3))


def gaussian(seed, *shape):
  key_mean, key_std = jax.random.split(jax.random.key(seed))
  return ActionDistribution(jax.random.normal(key_mean, shape), 0.5 * jax.random.normal(key_std, shape))


def test_the_log_density_is_that_of_the_raw_action_summed_over_its_components():
  standard = ActionDistribution(jnp.zeros(2), jnp.zeros(2))
  np.testing.assert_allclose(log_prob(standard, jnp.zeros(2)), -np.log(2 * np.pi), rtol=1e-6)
  np.testing.assert_allclose(log_prob(standard, jnp.array([3.0, 4.0])), -np.log(2 * np.pi) - 12.5, rtol=1e-6)
  policy, action = gaussian(2, 5, 2), 4.0 * jax.random.normal(KEY, (5, 2))
  expected = stats.norm.logpdf(action, policy.mean, np.exp(policy.log_std)).sum(axis=-1)
  np.testing.assert_allclose(log_prob(policy, action), expected, rtol=1e-5)


def test_the_divergence_by_hand():
  zero = jnp.zeros(1)
  unit, shifted, wide = (
    ActionDistribution(zero, zero),
    ActionDistribution(zero + 3.0, zero),
    ActionDistribution(zero, zero + jnp.log(2.0)),
  )
  assert kl_divergence(unit, unit) == 0
  np.testing.assert_allclose(kl_divergence(unit, shifted), 4.5, rtol=1e-6)
  np.testing.assert_allclose(kl_divergence(unit, wide), np.log(2) + 1 / 8 - 1 / 2, rtol=1e-5)
  np.testing.assert_allclose(kl_divergence(wide, unit), -np.log(2) + 2 - 1 / 2, rtol=1e-5)


def test_the_divergence_is_the_mean_of_the_difference_of_log_densities():
  p, q = gaussian(3, 2), gaussian(4, 2)
  drawn = jax.vmap(lambda key: sample(p, key))(jax.random.split(KEY, 200_000))
  difference = log_prob(p, drawn) - log_prob(q, drawn)
  error = float(jnp.std(difference)) / np.sqrt(len(drawn))
  assert abs(jnp.mean(difference) - kl_divergence(p, q)) < 5 * error < 0.1
  np.testing.assert_allclose(jnp.mean(drawn, axis=0), p.mean, atol=0.02)
  np.testing.assert_allclose(jnp.std(drawn, axis=0), jnp.exp(p.log_std), rtol=0.02)


def test_below_the_floor_a_standard_deviation_counts_as_the_floor():
  policy = learned_gaussian_policy(3, 2, (4,))
  params = policy.init(KEY)
  deep = params | {"log_std": jnp.array(-40.0)}
  mean, log_std = policy.distribution(deep, OBSERVATION)
  np.testing.assert_allclose(jnp.exp(log_std), 1e-6, rtol=1e-4)
  density, slope = jax.value_and_grad(lambda params: jnp.sum(log_prob(policy.distribution(params, OBSERVATION), mean)))(
    deep
  )
  assert np.isfinite(density)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
  assert slope["log_std"] == 0
  above = policy.distribution(params | {"log_std": jnp.array(LOG_STD_FLOOR + 1.0)}, OBSERVATION)
  np.testing.assert_allclose(above.log_std, LOG_STD_FLOOR + 1.0)


@pytest.mark.parametrize("shared", [True, False])
def test_components_share_a_standard_deviation_or_have_their_own_and_no_observation_changes_it(shared):
  policy = learned_gaussian_policy(3, 2, (4,), initial_log_std=-0.5, shared_log_std=shared)
  params = policy.init(KEY)
  assert params["log_std"].shape == (() if shared else (2,))
  mean, log_std = policy.distribution(params, OBSERVATION)
  assert mean.shape == log_std.shape == (7, 2)
  np.testing.assert_array_equal(log_std, np.full((7, 2), -0.5, np.float32))
  if not shared:
    log_std = policy.distribution(params | {"log_std": jnp.array([0.1, 0.2])}, OBSERVATION).log_std
    np.testing.assert_allclose(log_std, np.broadcast_to([0.1, 0.2], (7, 2)), rtol=1e-6)


def test_networks_start_with_weights_cut_at_two_standard_deviations_and_biases_of_zero():
  nets = [
    learned_gaussian_policy(3, 2, (50, 50)).init(KEY)["network"],
    learned_advantage_function(3, 2, (50, 50)).init(KEY),
  ]
  for net, last in zip(nets, (2, 1), strict=True):
    assert [layer["kernel"].shape[1] for layer in net.values()] == [50, 50, last]
    kernels = np.concatenate([layer["kernel"].ravel() for layer in net.values()])
    assert 0.19 < np.max(np.abs(kernels)) <= 0.2
    np.testing.assert_allclose(kernels.std(), 0.1 * 0.8796, rtol=0.03)  # 0.8796: of a unit normal cut at two
    assert all(np.all(layer["bias"] == 0) and np.any(layer["kernel"] != 0) for layer in net.values())


@pytest.mark.parametrize(
  ("activation", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0)), ("identity", lambda x: x)]
)
def test_means_and_learned_advantages_are_perceptrons_with_a_linear_output(activation, function):
  def forward(net, inputs):
    return function(inputs @ net["layer_0"]["kernel"] + net["layer_0"]["bias"]) @ net["layer_1"]["kernel"]

  policy = learned_gaussian_policy(3, 2, (4,), activation=activation)
  params = jax.tree.map(lambda leaf: 30.0 * leaf, policy.init(KEY))
  mean = policy.distribution(params, OBSERVATION).mean
  np.testing.assert_allclose(mean, forward(params["network"], OBSERVATION), rtol=1e-4, atol=1e-5)
  assert np.max(np.abs(mean)) > 1  # Nothing squashes it.

  advantage = learned_advantage_function(3, 2, (4,), activation=activation)
  psi, following = advantage.init(KEY), OBSERVATION[::-1]
  found = advantage.apply(psi, OBSERVATION, mean, following)
  assert found.shape == (7,)
  inputs = jnp.concatenate([following, OBSERVATION, mean], axis=-1)
  np.testing.assert_allclose(found, forward(psi, inputs)[:, 0], rtol=1e-4, atol=1e-5)


def test_an_unknown_activation_is_refused():
  for make in (learned_gaussian_policy, learned_advantage_function):
    with pytest.raises(ValueError, match="activation='swish' is unknown; choose one of identity, relu, tanh"):
      make(3, 2, (4,), activation="swish")


def test_an_agent_acts_by_the_mean_without_a_key_and_by_a_sample_with_one():
  policy = learned_gaussian_policy(3, 2, (4,), initial_log_std=1.0)
  params, act = {"policy": policy.init(KEY)}, act_with_gaussian(policy)
  zero = jnp.zeros(())
  timestep = TimeStep(OBSERVATION[0], jnp.zeros(2), zero, zero)
  expected = policy.distribution(params["policy"], OBSERVATION[0])
  np.testing.assert_array_equal(act(params, timestep, None), expected.mean)
  drawn = jax.vmap(lambda key: act(params, timestep, key))(jax.random.split(KEY, 4000))
  np.testing.assert_allclose(jnp.std(drawn, axis=0), np.e, rtol=0.05)
  assert np.max(np.abs(drawn)) > 5  # Nothing clips it.
