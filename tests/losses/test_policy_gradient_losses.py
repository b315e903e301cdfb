from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.policy_gradient import (
  clipped_ratio_objective,
  dice_surrogate,
  loaded_dice_surrogate,
  log_prob_surrogate,
  ratio_objective,
  ratio_surrogate,
  sampling_credit,
)

# Each takes log-probabilities, advantages or rewards, and a mask.
SURROGATES = {
  "log_prob": log_prob_surrogate,
  "ratio": ratio_surrogate,
  "dice": dice_surrogate,
  "dice with a baseline": lambda log_prob, reward, mask: dice_surrogate(log_prob, reward, mask, 0.5 * reward - 1.0),
  "loaded": partial(loaded_dice_surrogate, lambda_=0.7),
}
LOG_PROB = jnp.array([-0.5, -1.0, -2.0, -0.25])
ADVANTAGE = jnp.array([1.0, -2.0, 3.0, 0.5])
MASK = jnp.ones(4)


def of_episode(name):
  return lambda *arrays: jnp.sum(SURROGATES[name](*arrays))


def by_step(name):
  """The derivatives of an episode's surrogate by its log-probabilities: `[4]` and `[4, 4]`."""
  arrays = (LOG_PROB, ADVANTAGE, MASK)
  return jax.grad(of_episode(name))(*arrays), jax.hessian(of_episode(name))(*arrays)


# Values and derivatives by hand


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("log_prob", [-0.5, 2.0, -6.0, -0.125]),
    ("ratio", ADVANTAGE),
    ("dice", ADVANTAGE),
    ("dice with a baseline", ADVANTAGE),
    ("loaded", np.zeros(4)),
  ],
)
def test_values(name, expected):
  np.testing.assert_array_equal(SURROGATES[name](LOG_PROB, ADVANTAGE, MASK), expected)


def test_log_prob_and_ratio_have_the_advantage_as_gradient_and_only_the_ratio_a_curvature():
  for name, curvature in (("log_prob", 0.0), ("ratio", 1.0)):
    gradient, hessian = by_step(name)
    np.testing.assert_array_equal(gradient, ADVANTAGE)
    np.testing.assert_array_equal(hessian, curvature * jnp.diag(ADVANTAGE))


def test_dice_credits_each_pair_of_steps_with_the_rewards_from_the_later_on():
  gradient, hessian = by_step("dice")
  to_go = np.array([2.5, 1.5, 3.5, 0.5])
  np.testing.assert_allclose(gradient, to_go)
  np.testing.assert_allclose(hessian, to_go[np.maximum.outer(np.arange(4), np.arange(4))])


def test_a_baseline_of_dice_is_subtracted_from_the_credit_of_its_own_step():
  baseline = jnp.array([10.0, 20.0, 30.0, 40.0])
  gradient = jax.grad(lambda log_prob: jnp.sum(dice_surrogate(log_prob, ADVANTAGE, MASK, baseline)))(LOG_PROB)
  np.testing.assert_allclose(gradient, [2.5 - 10, 1.5 - 20, 3.5 - 30, 0.5 - 40])


def test_loaded_dice_credits_a_pair_of_steps_by_the_power_of_lambda_between_them():
  gradient, hessian = by_step("loaded")
  np.testing.assert_allclose(gradient, ADVANTAGE, rtol=1e-5)
  # d2 (f(w_t) - f(v_t)) by l_i and l_j, i < t: lambda^(t - i) if j = t; nothing of lambda^(2t - i - j), which cancels.
  distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
  later = np.asarray(ADVANTAGE)[np.maximum.outer(np.arange(4), np.arange(4))]
  np.testing.assert_allclose(hessian, 0.7**distance * later, rtol=1e-5, atol=1e-6)


def test_lambda_may_be_traced():
  def surrogate(log_prob, lambda_):
    return jnp.sum(loaded_dice_surrogate(log_prob, ADVANTAGE, MASK, lambda_))

  of_lambdas = jax.jit(jax.vmap(jax.hessian(surrogate), in_axes=(None, 0)))
  hessians = of_lambdas(LOG_PROB, jnp.array([0.0, 0.7]))
  np.testing.assert_allclose(hessians[0], jnp.diag(ADVANTAGE), atol=1e-6)
  np.testing.assert_allclose(hessians[1], by_step("loaded")[1], atol=1e-6)


# What is not read, and what is held fixed


@pytest.mark.parametrize("name", SURROGATES)
def test_masked_steps_contribute_to_no_value_gradient_or_hessian_of_the_policy(name):
  features = jax.random.normal(jax.random.key(1), (4, 2, 3))  # Steps, actions.
  actions, mask = jnp.array([0, 1, 1, 0]), jnp.array([1.0, 1.0, 0.0, 0.0])
  filled = jnp.where(mask > 0, ADVANTAGE, jnp.nan)

  def surrogate(parameters, steps, advantage):
    log_prob = jax.nn.log_softmax(features @ parameters)[jnp.arange(4), actions]
    return of_episode(name)(log_prob[:steps], advantage[:steps], mask[:steps])

  parameters = jnp.array([0.3, -0.2, 0.5])
  for derivative in (lambda function, **_: function, jax.grad, jax.hessian):
    whole = derivative(partial(surrogate, steps=4, advantage=filled))(parameters)
    cut = derivative(partial(surrogate, steps=2, advantage=ADVANTAGE))(parameters)
    np.testing.assert_allclose(whole, cut, rtol=1e-5, atol=1e-6)
  terms = SURROGATES[name](LOG_PROB, filled, mask)
  np.testing.assert_array_equal(terms[2:], 0.0)


@pytest.mark.parametrize("name", SURROGATES)
def test_log_probabilities_that_are_not_finite_do_no_harm_where_masked(name):
  mask = jnp.array([1.0, 1.0, 1.0, 0.0])
  gradient = jax.grad(of_episode(name))(LOG_PROB.at[3].set(-jnp.inf), ADVANTAGE, mask)
  assert np.all(np.isfinite(gradient))
  assert gradient[3] == 0.0


@pytest.mark.parametrize("name", SURROGATES)
def test_advantages_and_rewards_are_held_fixed_and_log_probabilities_are_not(name):
  by_log_prob, by_advantage = jax.grad(of_episode(name), argnums=(0, 1))(LOG_PROB, ADVANTAGE, MASK)
  assert np.all(by_log_prob != 0.0)
  np.testing.assert_array_equal(by_advantage, 0.0)


def test_the_baseline_of_dice_is_held_fixed():
  gradient = jax.grad(lambda baseline: jnp.sum(dice_surrogate(LOG_PROB, ADVANTAGE, MASK, baseline)))(jnp.ones(4))
  np.testing.assert_array_equal(gradient, 0.0)
  # A value of f(x) is 1 whatever x, so it is the mixed derivative that tells.
  mixed = jax.jacobian(
    jax.grad(lambda log_prob, baseline: jnp.sum(dice_surrogate(log_prob, ADVANTAGE, MASK, baseline))), argnums=1
  )
  np.testing.assert_array_equal(mixed(LOG_PROB, jnp.ones(4)), 0.0)


@pytest.mark.parametrize("name", SURROGATES)
def test_advantages_that_depend_on_the_parameters_add_nothing_to_any_derivative(name):
  def surrogate(scale, advantage_scale):
    return of_episode(name)(scale * LOG_PROB, advantage_scale * ADVANTAGE, MASK)

  for derivative in (jax.grad, jax.hessian):
    both = derivative(lambda scale: surrogate(scale, scale))(1.0)
    np.testing.assert_array_equal(both, derivative(lambda scale: surrogate(scale, 1.0))(1.0))


# Objectives after adaptation


def test_ratio_objectives_by_hand():
  old = jnp.zeros(6)
  log_prob = jnp.log(jnp.array([1.5, 1.5, 0.5, 0.5, 1.1, 0.9]))
  advantage = jnp.array([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])
  np.testing.assert_allclose(ratio_objective(log_prob, old, advantage), [3.0, -3.0, 1.0, -1.0, 2.2, -1.8], rtol=1e-6)
  clipped = partial(clipped_ratio_objective, old_log_prob=old, advantage=advantage, clip=0.2)
  np.testing.assert_allclose(clipped(log_prob), [2.4, -3.0, 1.0, -1.6, 2.2, -1.8], rtol=1e-6)
  # Beyond the clip the gradient vanishes where the advantage would move the ratio further, and only there.
  gradient = jax.grad(lambda log_prob: jnp.sum(clipped(log_prob)))(log_prob)
  np.testing.assert_allclose(gradient, [0.0, -3.0, 1.0, 0.0, 2.2, -1.8], rtol=1e-6)


@pytest.mark.parametrize("objective", [ratio_objective, partial(clipped_ratio_objective, clip=0.2)])
def test_gradient_at_ratio_one_is_the_advantage_for_both_signs(objective):
  old = LOG_PROB
  np.testing.assert_array_equal(objective(LOG_PROB, old, ADVANTAGE), ADVANTAGE)
  gradient = jax.grad(lambda log_prob: jnp.sum(objective(log_prob, old, ADVANTAGE)))(LOG_PROB)
  np.testing.assert_array_equal(gradient, ADVANTAGE)


@pytest.mark.parametrize("objective", [ratio_objective, partial(clipped_ratio_objective, clip=0.2)])
def test_stored_log_probabilities_and_advantages_are_held_fixed(objective):
  gradients = jax.grad(lambda *arrays: jnp.sum(objective(*arrays)), argnums=(1, 2))(LOG_PROB, LOG_PROB, ADVANTAGE)
  np.testing.assert_array_equal(gradients, 0.0)


def test_clip_may_be_traced():
  of_clips = jax.vmap(lambda clip: clipped_ratio_objective(jnp.log(1.5), jnp.zeros(()), jnp.ones(()), clip))
  np.testing.assert_allclose(of_clips(jnp.array([0.1, 0.3, 0.9])), [1.1, 1.3, 1.5], rtol=1e-6)


# The credit for the inner data


def test_sampling_credit_by_hand():
  log_prob = jnp.array([[[-1.0, -2.0], [-3.0, jnp.nan]], [[-5.0, -1.0], [-2.0, -2.0]]])
  mask = jnp.array([[[1.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
  post_return = jnp.array([7.0, 3.0])
  # Scores -3 and -5, returns 2 above and 2 below their mean.
  np.testing.assert_allclose(sampling_credit(log_prob, mask, post_return), -(2 * -3 + -2 * -5) / 2)
  by_log_prob, by_return = jax.grad(sampling_credit, argnums=(0, 2))(log_prob, mask, post_return)
  np.testing.assert_allclose(by_log_prob, -mask * jnp.array([2.0, -2.0])[:, None, None] / 4)
  np.testing.assert_array_equal(by_return, 0.0)


def test_shapes_are_checked():
  for surrogate in SURROGATES.values():
    with pytest.raises(AssertionError):
      surrogate(LOG_PROB, ADVANTAGE[:, None], MASK)
  with pytest.raises(AssertionError):
    clipped_ratio_objective(LOG_PROB, LOG_PROB[:2], ADVANTAGE, 0.2)
  with pytest.raises(AssertionError):
    sampling_credit(jnp.zeros((2, 3, 4)), jnp.ones((2, 3, 4)), jnp.zeros(3))
