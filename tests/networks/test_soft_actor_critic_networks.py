import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.networks.soft_actor_critic import smooth_bounds, squashed_gaussian_policy, twin_critic


def test_policy_keeps_its_standard_deviation_in_range():
  policy = squashed_gaussian_policy(3, 2, (8,), bound_log_std=smooth_bounds(-4.0, 1.0))
  params = policy.init(jax.random.key(0))
  mean, log_std = policy.apply(params, 1e4 * jax.random.normal(jax.random.key(1), (5, 7, 3)))
  assert mean.shape == log_std.shape == (5, 7, 2)
  assert log_std.min() >= -4.0
  assert log_std.max() <= 1.0
  assert log_std.max() - log_std.min() > 4.0  # such inputs reach both ends


def test_critics_are_two_independent_networks():
  critic = twin_critic(3, 2, (8,))
  params = critic.init(jax.random.key(0))
  inputs, actions = jnp.ones((4, 3)), jnp.ones((4, 2))
  values = critic.apply(params, inputs, actions)
  assert values.shape == (2, 4)
  assert not np.allclose(values[0], values[1])
  # The gradient of one critic's values does not reach the other's parameters.
  gradient = jax.grad(lambda params: jnp.sum(critic.apply(params, inputs, actions)[0]))(params)
  for leaf in jax.tree.leaves(gradient):
    np.testing.assert_array_equal(leaf[1], jnp.zeros_like(leaf[1]))
  assert any(np.any(leaf[0] != 0) for leaf in jax.tree.leaves(gradient))
