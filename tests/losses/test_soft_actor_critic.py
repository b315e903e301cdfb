import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses import soft_actor_critic as losses


def test_log_prob_at_two_points_by_hand():
  zero, one = jnp.zeros((1, 1)), jnp.ones((1, 1))
  # u = 0: log N(0; 0, 1) = -log(2 pi) / 2, and tanh has slope one there.
  np.testing.assert_allclose(losses.squashed_log_prob(zero, zero, zero), [-0.9189385], rtol=1e-6)
  # u = 1: -0.9189385 - 1/2 - log(1 - tanh(1)^2) = -1.4189385 + 0.8675616.
  np.testing.assert_allclose(losses.squashed_log_prob(zero, zero, one), [-0.5513769], rtol=1e-6)


def test_log_prob_stays_exact_where_tanh_rounds_to_one():
  zero, far = jnp.zeros((1, 1)), jnp.full((1, 1), 20.0)
  # log(1 - tanh(20)^2) = 2 (log 2 - 20) up to exp(-40).
  expected = -0.9189385 - 200.0 - 2.0 * (np.log(2.0) - 20.0)
  np.testing.assert_allclose(losses.squashed_log_prob(zero, zero, far), [expected], rtol=1e-6)
  assert np.isfinite(jax.grad(lambda u: losses.squashed_log_prob(zero, zero, u)[0])(far)).all()


def test_log_prob_is_a_density_over_actions():
  action = np.linspace(-1.0, 1.0, 200_001)[1:-1]
  mean, log_std = 0.4, -0.7
  pre_squash = jnp.asarray(np.arctanh(action), jnp.float32)[:, None]
  log_prob = losses.squashed_log_prob(jnp.full_like(pre_squash, mean), jnp.full_like(pre_squash, log_std), pre_squash)
  np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), action), 1.0, atol=1e-4)


def test_squash_sums_dimensions_and_agrees_with_its_own_density():
  mean, log_std = jnp.array([[0.3, -1.0]]), jnp.array([[-0.5, 0.2]])
  noise = jnp.array([[1.5, -0.3]])
  action, log_prob = losses.squash(mean, log_std, noise)
  pre_squash = np.array([0.3 + np.exp(-0.5) * 1.5, -1.0 - np.exp(0.2) * 0.3])
  np.testing.assert_allclose(action[0], np.tanh(pre_squash), rtol=1e-6)
  log_normal = -0.5 * np.array([1.5, -0.3]) ** 2 - 0.5 * np.log(2 * np.pi) - np.array([-0.5, 0.2])
  expected = np.sum(log_normal - np.log(1 - np.tanh(pre_squash) ** 2))
  np.testing.assert_allclose(log_prob, [expected], rtol=1e-5)


def test_target_takes_the_smaller_critic_less_entropy_and_stops_at_terminals():
  target = losses.soft_target(
    reward=jnp.array([1.0, 1.0, 0.0]),
    terminal=jnp.array([0.0, 1.0, 0.0]),
    next_values=jnp.array([[2.0, 2.0, 5.0], [3.0, 3.0, 4.0]]),
    next_log_prob=jnp.array([-0.5, -0.5, 1.0]),
    temperature=jnp.array(0.2),
    discount=0.9,
  )
  # 1 + 0.9 (2 + 0.2 * 0.5); the terminal keeps its reward alone; 0.9 (4 - 0.2 * 1).
  np.testing.assert_allclose(target, [2.89, 1.0, 3.42], rtol=1e-6)


def test_target_uses_each_tasks_own_temperature():
  target = losses.soft_target(
    reward=jnp.zeros((2, 3)),
    terminal=jnp.zeros((2, 3)),
    next_values=jnp.zeros((2, 2, 3)),
    next_log_prob=jnp.ones((2, 3)),
    temperature=jnp.array([[0.1], [0.5]]),
    discount=1.0,
  )
  np.testing.assert_allclose(target, [[-0.1] * 3, [-0.5] * 3], rtol=1e-6)


def test_critic_loss_and_its_gradient():
  values, target = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.0, 1.0])
  # Squares: (1 + 9) and (1 + 9), summed over critics; half their mean.
  np.testing.assert_allclose(losses.critic_loss(values, target), 5.0)
  np.testing.assert_allclose(jax.grad(losses.critic_loss)(values, target), [[0.5, 0.5], [1.5, 1.5]])


def test_actor_loss_and_its_gradient():
  values, log_prob = jnp.array([[1.0, 5.0], [2.0, 3.0]]), jnp.array([-1.0, -2.0])
  # Mean of 0.5 * -1 - 1 and 0.5 * -2 - 3.
  np.testing.assert_allclose(losses.actor_loss(values, log_prob, jnp.array(0.5)), -2.75)
  to_values, to_log_prob = jax.grad(losses.actor_loss, (0, 1))(values, log_prob, jnp.array(0.5))
  np.testing.assert_allclose(to_values, [[-0.5, 0.0], [0.0, -0.5]])
  np.testing.assert_allclose(to_log_prob, [0.25, 0.25])


def test_temperature_falls_where_entropy_exceeds_its_target_and_rises_below():
  log_temperature = jnp.array([[0.3], [0.3]])
  log_prob = jnp.array([[-1.0, -3.0], [5.0, 3.0]])  # mean entropies 2 and -4, target -2
  loss = losses.temperature_loss(log_temperature, log_prob, target_entropy=-2.0)
  # -mean(0.3 * [-3, -5, 3, 1]) = 0.3.
  np.testing.assert_allclose(loss, 0.3, rtol=1e-6)
  gradient = jax.grad(losses.temperature_loss)(log_temperature, log_prob, target_entropy=-2.0)
  np.testing.assert_allclose(gradient, [[2.0], [-1.0]])


def _target(next_values, next_log_prob, temperature):
  ones = jnp.ones(2)
  return jnp.sum(losses.soft_target(ones, 0.0 * ones, next_values, next_log_prob, temperature, discount=0.9))


@pytest.mark.parametrize(
  ("function", "argument", "inputs"),
  [
    (_target, 0, (jnp.ones((2, 2)), jnp.ones(2), jnp.array(0.5))),
    (_target, 1, (jnp.ones((2, 2)), jnp.ones(2), jnp.array(0.5))),
    (_target, 2, (jnp.ones((2, 2)), jnp.ones(2), jnp.array(0.5))),
    (losses.critic_loss, 1, (jnp.ones((2, 3)), jnp.zeros(3))),
    (losses.actor_loss, 2, (jnp.ones((2, 3)), jnp.ones(3), jnp.array(0.5))),
    (
      lambda log_temperature, log_prob: losses.temperature_loss(log_temperature, log_prob, target_entropy=-1.0),
      1,
      (jnp.array(0.5), jnp.ones(3)),
    ),
  ],
  ids=[
    "target-values",
    "target-log_prob",
    "target-temperature",
    "critic-target",
    "actor-temperature",
    "alpha-log_prob",
  ],
)
def test_what_is_held_fixed_gets_no_gradient(function, argument, inputs):
  gradient = jax.grad(function, argument)(*inputs)
  np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


def test_shapes_that_would_broadcast_are_refused():
  with pytest.raises(AssertionError):
    losses.critic_loss(jnp.ones((2, 3)), jnp.ones((3, 1)))
  with pytest.raises(AssertionError):
    losses.actor_loss(jnp.ones((3, 2)), jnp.ones(3), jnp.array(1.0))


def test_recorded_action_has_the_density_of_the_action_that_was_sampled():
  keys = jax.random.split(jax.random.key(0), 3)
  mean, noise = (jax.random.normal(key, (4, 3, 2)) for key in keys[:2])
  log_std = jax.random.uniform(keys[2], (4, 3, 2), minval=-2.0, maxval=-1.0)
  action, log_prob = losses.squash(mean, log_std, noise)
  assert jnp.max(jnp.abs(action)) < 1.0 - losses.ACTION_MARGIN
  np.testing.assert_allclose(losses.recorded_log_prob(mean, log_std, action), log_prob, rtol=1e-3, atol=1e-3)


def test_recorded_actions_at_the_ends_have_a_finite_density_with_a_finite_gradient():
  mean, log_std, action = jnp.zeros((2, 1)), jnp.full((2, 1), -5.0), jnp.array([[-1.0], [1.0]])
  log_prob = losses.recorded_log_prob(mean, log_std, action)
  u = np.arctanh(0.999)
  expected = -0.5 * (u * np.exp(5.0)) ** 2 - 0.5 * np.log(2 * np.pi) + 5.0 - np.log(1 - 0.999**2)
  np.testing.assert_allclose(log_prob, [expected, expected], rtol=1e-4)
  gradient = jax.grad(lambda mean, log_std: jnp.sum(losses.recorded_log_prob(mean, log_std, action)), (0, 1))
  assert all(np.isfinite(leaf).all() for leaf in gradient(mean, log_std))


def test_state_value_loss_by_hand_and_its_gradient():
  prediction, values = jnp.array([1.0, 0.0]), jnp.array([[2.0, 4.0], [3.0, 1.0]])
  log_prob = jnp.array([-1.0, 2.0])
  # Targets 2 + 0.5 and 1 - 1: errors -1.5 and 0.
  np.testing.assert_allclose(losses.state_value_loss(prediction, values, log_prob, 0.5), 1.125)
  gradients = jax.grad(losses.state_value_loss, (0, 1, 2))(prediction, values, log_prob, 0.5)
  np.testing.assert_allclose(gradients[0], [-1.5, 0.0])
  for held in gradients[1:]:
    np.testing.assert_array_equal(held, jnp.zeros_like(held))


def test_policy_regularisation_by_hand():
  # 1e-3 ((1 + 9) / 2 + (4 + 0) / 2).
  np.testing.assert_allclose(losses.policy_regularisation(jnp.array([1.0, -3.0]), jnp.array([-2.0, 0.0])), 7e-3)
