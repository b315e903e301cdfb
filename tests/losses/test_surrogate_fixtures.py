"""Surrogates on problems small enough that expectations are sums over all episodes."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.policy_gradient import (
  dice_surrogate,
  loaded_dice_surrogate,
  log_prob_surrogate,
  ratio_surrogate,
  sampling_credit,
)
from macaw_jax.losses.returns import returns_to_go

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture
def double_precision():
  with jax.enable_x64(True):
    yield


# A chain of two states and two actions: the next state is the action, three steps from state 0, nothing discounted.

LOGITS = np.array([[0.3, -0.2], [0.1, 0.5]])  # [state, action]
REWARDS = np.array([[0.0, 1.0], [2.0, -1.0]])  # [state, action]
CHAIN_ACTIONS = np.array(list(itertools.product((0, 1), repeat=3)))  # [8, 3]: all episodes
CHAIN_STATES = np.concatenate([np.zeros((8, 1), int), CHAIN_ACTIONS[:, :-1]], axis=1)
CHAIN_REWARDS = REWARDS[CHAIN_STATES, CHAIN_ACTIONS]
ALL_STEPS = np.ones(3)

SURROGATES = {
  "log_prob": log_prob_surrogate,
  "ratio": ratio_surrogate,
  "loaded(0)": partial(loaded_dice_surrogate, lambda_=0.0),
  "loaded(0.5)": partial(loaded_dice_surrogate, lambda_=0.5),
  "loaded(0.9)": partial(loaded_dice_surrogate, lambda_=0.9),
  "loaded(1)": partial(loaded_dice_surrogate, lambda_=1.0),
}


def chain_log_prob(flat_logits, states, actions):
  return jax.nn.log_softmax(flat_logits.reshape(2, 2), axis=-1)[states, actions]


def chain_return(flat_logits):
  log_prob = chain_log_prob(flat_logits, CHAIN_STATES, CHAIN_ACTIONS)
  return jnp.sum(jnp.exp(jnp.sum(log_prob, axis=-1)) * np.sum(CHAIN_REWARDS, axis=-1))


@cache
def chain_derivatives(name):
  """Of each episode's surrogate: gradients [8, 4] and Hessians [8, 4, 4]; and the probabilities [8]."""

  def surrogate(flat_logits, states, actions, rewards):
    log_prob = chain_log_prob(flat_logits, states, actions)
    if name == "dice":
      return jnp.sum(dice_surrogate(log_prob, rewards, jnp.asarray(ALL_STEPS)))
    return jnp.sum(SURROGATES[name](log_prob, returns_to_go(rewards, 1.0), jnp.asarray(ALL_STEPS)))

  logits = jnp.asarray(LOGITS.reshape(-1))
  episodes = (jnp.asarray(CHAIN_STATES), jnp.asarray(CHAIN_ACTIONS), jnp.asarray(CHAIN_REWARDS))
  over_episodes = partial(jax.vmap, in_axes=(None, 0, 0, 0))
  gradients = over_episodes(jax.grad(surrogate))(logits, *episodes)
  hessians = over_episodes(jax.hessian(surrogate))(logits, *episodes)
  probabilities = jnp.exp(jnp.sum(chain_log_prob(logits, CHAIN_STATES, CHAIN_ACTIONS), axis=-1))
  return np.asarray(gradients), np.asarray(hessians), np.asarray(probabilities)


@cache
def chain_truth():
  logits = jnp.asarray(LOGITS.reshape(-1))
  return np.asarray(jax.grad(chain_return)(logits)), np.asarray(jax.hessian(chain_return)(logits))


def test_the_chain_has_the_known_return_gradient_and_hessian():
  assert chain_return(jnp.asarray(LOGITS.reshape(-1))) == pytest.approx(0.9870426179, abs=1e-9)
  gradient, hessian = chain_truth()
  np.testing.assert_allclose(gradient, [-0.43272876, 0.43272876, 0.62017603, -0.62017603], atol=1e-8)
  block = np.array([[1.0, -1.0], [-1.0, 1.0]])
  np.testing.assert_allclose(hessian[:2, :2], -0.078474 * block, atol=1e-6)
  np.testing.assert_allclose(hessian[:2, 2:], -0.343401 * block, atol=1e-6)
  np.testing.assert_allclose(hessian[2:, 2:], -0.008354 * block, atol=1e-6)
  assert np.linalg.norm(hessian) == pytest.approx(0.984025, abs=1e-6)


@pytest.mark.parametrize(
  ("name", "hessian_error", "hessian_variance"),
  [
    ("log_prob", 1.149725, 1.8526),
    ("ratio", 1.071394, 0.2801),
    ("loaded(0)", 1.071394, 0.2801),
    ("loaded(0.5)", 0.563964, 0.8895),
    ("loaded(0.9)", 0.117328, 2.5171),
    ("dice", 0.0, 3.1555),
    ("loaded(1)", 0.0, 3.1555),
  ],
)
def test_gradients_are_unbiased_and_hessians_are_biased_and_vary_as_known(name, hessian_error, hessian_variance):
  gradients, hessians, probabilities = chain_derivatives(name)
  true_gradient, true_hessian = chain_truth()
  np.testing.assert_allclose(probabilities @ gradients, true_gradient, atol=1e-12)
  expected = np.einsum("e,eij->ij", probabilities, hessians)
  assert np.linalg.norm(expected - true_hessian) == pytest.approx(hessian_error, abs=1e-6)
  variance = np.sum(np.einsum("e,eij->ij", probabilities, np.square(hessians - expected)))
  assert variance == pytest.approx(hessian_variance, abs=5e-5)


@pytest.mark.parametrize(
  ("name", "first", "second"), [("ratio", 0.105983, 0.122407), ("log_prob", -0.380644, -0.065907)]
)
def test_expected_hessians_that_miss_products_across_time_have_no_cross_block(name, first, second):
  _, hessians, probabilities = chain_derivatives(name)
  expected = np.einsum("e,eij->ij", probabilities, hessians)
  assert expected[0, 0] == pytest.approx(first, abs=1e-6)
  assert expected[2, 2] == pytest.approx(second, abs=1e-6)
  np.testing.assert_allclose(expected[:2, 2:], 0.0, atol=1e-12)


@pytest.mark.parametrize(("loaded", "same"), [("loaded(0)", "ratio"), ("loaded(1)", "dice")])
def test_loaded_dice_is_the_ratio_at_zero_and_dice_at_one_on_every_episode(loaded, same):
  for derivative, expected in zip(chain_derivatives(loaded)[:2], chain_derivatives(same)[:2], strict=True):
    np.testing.assert_allclose(derivative, expected, atol=1e-12)


def test_a_baseline_of_dice_leaves_the_expected_derivatives_as_they_are():
  values = jnp.array([[0.7, -1.3], [2.0, 0.4], [-0.6, 1.1]])  # [step, state]: any function of time and state.

  def surrogate(flat_logits, states, actions, rewards):
    baseline = values[jnp.arange(3), states]
    log_prob = chain_log_prob(flat_logits, states, actions)
    return jnp.sum(dice_surrogate(log_prob, rewards, jnp.asarray(ALL_STEPS), baseline))

  logits = jnp.asarray(LOGITS.reshape(-1))
  episodes = (jnp.asarray(CHAIN_STATES), jnp.asarray(CHAIN_ACTIONS), jnp.asarray(CHAIN_REWARDS))
  probabilities = jnp.exp(jnp.sum(chain_log_prob(logits, CHAIN_STATES, CHAIN_ACTIONS), axis=-1))
  over_episodes = partial(jax.vmap, in_axes=(None, 0, 0, 0))
  gradients = over_episodes(jax.grad(surrogate))(logits, *episodes)
  hessians = over_episodes(jax.hessian(surrogate))(logits, *episodes)
  true_gradient, true_hessian = chain_truth()
  assert np.max(np.abs(np.asarray(gradients) - chain_derivatives("dice")[0])) > 0.1
  np.testing.assert_allclose(probabilities @ gradients, true_gradient, atol=1e-12)
  np.testing.assert_allclose(np.einsum("e,eij->ij", probabilities, hessians), true_hessian, atol=1e-12)


# A bandit of three arms; one action is the data of the inner step, an ascent.

ARM_LOGITS = np.array([0.2, -0.1, 0.4])
ARM_REWARDS = np.array([1.0, 0.0, 3.0])
STEP_SIZE = 0.5
PATH_OF_LOG_PROB = [-0.128321, -0.252675, 0.380996]
SAMPLING_CREDIT = [-0.135114, -0.066135, 0.201249]


def bandit_return(logits):
  return jax.nn.softmax(logits) @ jnp.asarray(ARM_REWARDS)


def one_action_ascent(surrogate, logits, actions):
  """The logits after an ascent on the mean surrogate of the episodes, each of one action, `[E]`."""
  rewards = jnp.asarray(ARM_REWARDS)[actions][:, None]

  def objective(logits):
    log_prob = jax.nn.log_softmax(logits)[actions][:, None]  # [E, 1]
    return jnp.mean(jnp.sum(surrogate(log_prob, rewards, jnp.ones_like(rewards)), axis=-1))

  return logits + STEP_SIZE * jax.grad(objective)(logits)


def bandit_data(num_episodes):
  """All data sets of that many actions, [S, E], and the probability of each as a function of the logits."""
  data = jnp.array(list(itertools.product(range(3), repeat=num_episodes)))
  return data, lambda logits: jnp.exp(jnp.sum(jax.nn.log_softmax(logits)[data], axis=-1))


def adapted_returns(surrogate, logits, data):
  return jax.vmap(lambda actions: bandit_return(one_action_ascent(surrogate, logits, actions)))(data)


def path_gradient(surrogate, num_episodes=1):
  """What plain MAML follows in expectation: the gradient through the step, with the choice of the data held fixed."""
  data, probability = bandit_data(num_episodes)
  logits = jnp.asarray(ARM_LOGITS)
  weights = probability(logits)
  return jax.grad(lambda logits: weights @ adapted_returns(surrogate, logits, data))(logits)


def sampled_objective(logits, num_episodes=1):
  """E J(theta + alpha grad) over the data of the inner step, which the parameters draw."""
  data, probability = bandit_data(num_episodes)
  return probability(logits) @ adapted_returns(log_prob_surrogate, logits, data)


def expected_gradient_objective(logits):
  """J(theta + alpha E grad)."""
  return bandit_return(logits + STEP_SIZE * jax.grad(bandit_return)(logits))


def finite_differences(function, point, step=1e-5):
  return np.array([(function(point + shift) - function(point - shift)) / (2 * step) for shift in step * np.eye(3)])


def expected_sampling_credit(num_tasks, num_episodes):
  """Gradient of the negative loss in expectation over the data of all tasks, each this bandit."""
  data, probability = bandit_data(num_episodes)
  logits = jnp.asarray(ARM_LOGITS)
  post_return = adapted_returns(log_prob_surrogate, logits, data)
  drawn = jnp.array(list(itertools.product(range(len(data)), repeat=num_tasks)))  # [S^T, T]

  def loss(logits, drawn):
    log_prob = jax.nn.log_softmax(logits)[data[drawn]][..., None]  # [T, E, 1]
    return sampling_credit(log_prob, jnp.ones_like(log_prob), post_return[drawn])

  gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(logits, drawn)
  return -jnp.prod(probability(logits)[drawn], axis=-1) @ gradients


def test_the_bandit_has_the_known_return_and_gradient():
  logits = jnp.asarray(ARM_LOGITS)
  assert bandit_return(logits) == pytest.approx(1.57456459, abs=1e-8)
  np.testing.assert_allclose(jax.grad(bandit_return)(logits), [-0.19396412, -0.39378093, 0.58774506], atol=1e-8)


def test_objectives_of_sampled_and_of_expected_inner_gradients():
  logits = jnp.asarray(ARM_LOGITS)
  assert sampled_objective(logits) == pytest.approx(1.83900889, abs=1e-8)
  assert expected_gradient_objective(logits) == pytest.approx(1.84601678, abs=1e-8)
  np.testing.assert_allclose(
    finite_differences(expected_gradient_objective, logits), [-0.303523, -0.338467, 0.641990], atol=1e-6
  )


@pytest.mark.parametrize(
  ("surrogate", "expected"),
  [(log_prob_surrogate, PATH_OF_LOG_PROB), (ratio_surrogate, [-0.247163, -0.307429, 0.554592])],
)
def test_gradients_through_the_step_depend_on_the_surrogate(surrogate, expected):
  np.testing.assert_allclose(path_gradient(surrogate), expected, atol=1e-6)


def test_an_expected_inner_gradient_of_the_ratio_gives_the_gradient_of_its_own_objective_without_a_further_term():
  data, probability = bandit_data(1)
  weights = probability(jnp.asarray(ARM_LOGITS))

  def after_an_expected_step(logits):
    steps = jax.vmap(lambda actions: one_action_ascent(ratio_surrogate, logits, actions))(data)
    return bandit_return(weights @ steps)

  gradient = jax.grad(after_an_expected_step)(jnp.asarray(ARM_LOGITS))
  np.testing.assert_allclose(gradient, [-0.303523, -0.338467, 0.641990], atol=1e-6)


def test_first_order_gradient_is_that_after_the_step():
  data, probability = bandit_data(1)
  logits = jnp.asarray(ARM_LOGITS)
  adapted = jax.vmap(partial(one_action_ascent, log_prob_surrogate, logits))(data)
  first_order = probability(logits) @ jax.vmap(jax.grad(bandit_return))(adapted)
  np.testing.assert_allclose(first_order, [-0.197568, -0.323210, 0.520778], atol=1e-6)


def test_sampling_credit_is_what_log_prob_leaves_out_of_the_gradient_of_the_sampled_objective():
  # Of two tasks, half of the comparison of a return with the mean is a comparison with itself: a factor of 2.
  credit = 2.0 * expected_sampling_credit(num_tasks=2, num_episodes=1)
  np.testing.assert_allclose(credit, SAMPLING_CREDIT, atol=1e-6)
  whole = path_gradient(log_prob_surrogate) + credit
  np.testing.assert_allclose(whole, [-0.263435, -0.318810, 0.582245], atol=1e-6)
  np.testing.assert_allclose(whole, finite_differences(sampled_objective, jnp.asarray(ARM_LOGITS)), atol=1e-8)


@pytest.mark.parametrize(("num_tasks", "num_episodes"), [(3, 1), (2, 2)])
def test_scale_of_sampling_credit_is_known_for_any_number_of_tasks_and_episodes(num_tasks, num_episodes):
  scale = num_tasks * num_episodes / (num_tasks - 1)
  credit = scale * expected_sampling_credit(num_tasks, num_episodes)
  objective = partial(sampled_objective, num_episodes=num_episodes)
  exact = jax.grad(objective)(jnp.asarray(ARM_LOGITS))
  np.testing.assert_allclose(path_gradient(log_prob_surrogate, num_episodes) + credit, exact, atol=1e-10)


def test_in_one_step_the_expected_hessian_of_the_ratio_is_exact_and_that_of_log_prob_is_not():
  data, probability = bandit_data(1)
  logits = jnp.asarray(ARM_LOGITS)

  def expected_hessian(surrogate):
    def of_action(logits, action):
      reward = jnp.asarray(ARM_REWARDS)[action][None]
      return jnp.sum(surrogate(jax.nn.log_softmax(logits)[action][None], reward, jnp.ones(1)))

    hessians = jax.vmap(jax.hessian(of_action), in_axes=(None, 0))(logits, data[:, 0])
    return jnp.einsum("a,aij->ij", probability(logits), hessians)

  exact = jax.hessian(bandit_return)(logits)
  for surrogate in (ratio_surrogate, dice_surrogate):
    np.testing.assert_allclose(expected_hessian(surrogate), exact, atol=1e-12)
  error = np.linalg.norm(np.asarray(expected_hessian(log_prob_surrogate)) - np.asarray(exact))
  assert error == pytest.approx(0.777167, abs=1e-6)
