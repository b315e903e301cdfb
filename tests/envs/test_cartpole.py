import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.envs.cartpole import CartPole, cartpole_bias, fallen, reset, step
from macaw_jax.envs.rollout import episode_return, make_rollout

FAMILY = cartpole_bias()
UNBIASED = {"bias": np.float32(0.0)}
UPRIGHT = CartPole(*(jnp.zeros(()) for _ in range(4)))


def euler(state, action):
  """One step in float64, from the equations of Barto, Sutton and Anderson in the form of two linear equations.

  (M + m) x'' + m l cos(th) th'' = F + m l w^2 sin(th)
  m l cos(th) x'' + (4/3) m l^2 th'' = m g l sin(th)
  """
  x, v, angle, w = state
  cart, pole, half, gravity, force = 1.0, 0.1, 0.5, 9.8, 10.0 * action
  matrix = [
    [cart + pole, pole * half * math.cos(angle)],
    [pole * half * math.cos(angle), 4 / 3 * pole * half**2],
  ]
  right = [force + pole * half * w**2 * math.sin(angle), pole * gravity * half * math.sin(angle)]
  acceleration, angular_acceleration = np.linalg.solve(matrix, right)
  return np.array([x + 0.02 * v, v + 0.02 * acceleration, angle + 0.02 * w, w + 0.02 * angular_acceleration])


def nothing(params, adapted, timestep, key):
  return jnp.zeros(1), adapted


def state_of(numbers):
  return CartPole(*np.float32(numbers))


def test_steps_agree_with_the_equations_of_motion():
  random = np.random.RandomState(0)
  for _ in range(50):
    start, action = random.uniform(-1, 1, 4) * [2.4, 2.0, 0.2, 3.0], random.uniform(-1, 1)
    after = step(UNBIASED, state_of(start), np.float32([action]))
    np.testing.assert_allclose(np.stack(after), euler(start, action), atol=2e-6)


def test_a_push_from_rest_by_hand():
  # pull = 10 / 1.1; angular acceleration -pull / (0.5 (4/3 - 1/11)) = -14.634; acceleration pull + 0.05 * 14.634 / 1.1.
  after = step(UNBIASED, UPRIGHT, np.float32([1.0]))
  np.testing.assert_allclose(np.stack(after), [0.0, 0.02 * 9.75610, 0.0, -0.02 * 14.63415], atol=1e-6)


def test_upright_without_force_it_stays_for_500_steps():
  family = FAMILY._replace(reset=lambda task, key: UPRIGHT)
  trajectory = make_rollout(family, nothing)({}, {}, {"bias": np.float32([0.0, 0.1])}, jax.random.key(0))
  np.testing.assert_array_equal(episode_return(trajectory), [500.0, 500.0])
  np.testing.assert_array_equal(trajectory.terminal, np.zeros((2, 500)))


def test_the_step_that_ends_the_episode_is_worth_nothing():
  count = 8
  trajectory = make_rollout(FAMILY, nothing)({}, {}, {"bias": np.zeros(count, np.float32)}, jax.random.key(0))
  lengths = np.sum(trajectory.mask, axis=1)
  assert lengths.min() > 10
  assert lengths.max() < 500  # the pole falls by itself
  np.testing.assert_array_equal(episode_return(trajectory), lengths - 1)
  np.testing.assert_array_equal(np.sum(trajectory.terminal, axis=1), np.ones(count))


def test_the_bias_moves_the_third_entry_alone():
  state = state_of([1.2, -0.7, 0.1, 2.0])
  plain, biased = (FAMILY.observe({"bias": np.float32(bias)}, state) for bias in (0.0, 0.15))
  np.testing.assert_allclose(plain, [0.25, -1.0, 0.1 / 0.41888, -1.0], atol=1e-5)
  np.testing.assert_allclose(biased - plain, [0.0, 0.0, 0.15 / 0.41888, 0.0], atol=1e-5)


def test_no_bias_moves_the_pole():
  state, action = state_of([0.1, 0.2, 0.03, 0.4]), np.float32([-0.5])
  for biased, plain in zip(step({"bias": np.float32(0.17)}, state, action), step(UNBIASED, state, action), strict=True):
    assert biased == plain


@pytest.mark.parametrize(
  ("place", "degrees", "expected"),
  [
    (0, 0, False),
    (2.399, 0, False),
    (2.4, 0, True),
    (-2.4, 0, True),
    (0, 11.999, False),
    (0, 12.001, True),
    (0, -13, True),
  ],
)
def test_the_end_is_at_the_true_limits(place, degrees, expected):
  state = state_of([place, 9.0, math.radians(degrees), -9.0])
  for bias in (-0.17, 0.17):
    assert bool(fallen({"bias": np.float32(bias)}, state)) == expected


def test_a_state_that_is_no_number_ends_the_episode():
  assert fallen(UNBIASED, state_of([0.0, 0.0, math.nan, 0.0]))


def test_starts_are_uniform_within_a_twentieth():
  starts = np.stack(jax.vmap(lambda key: reset(UNBIASED, key))(jax.random.split(jax.random.key(0), 4000)), axis=1)
  assert starts.shape == (4000, 4)
  assert np.max(np.abs(starts)) <= 0.05
  assert np.min(np.max(np.abs(starts), axis=0)) > 0.0495
  np.testing.assert_allclose(np.std(starts, axis=0), 0.05 / math.sqrt(3), rtol=0.05)
  np.testing.assert_allclose(np.corrcoef(starts.T), np.eye(4), atol=0.08)


def test_tasks_and_split():
  biases = FAMILY.tasks["bias"]
  assert (FAMILY.horizon, biases.shape) == (500, (5100,))
  train, test = biases[list(FAMILY.train_tasks)], biases[list(FAMILY.test_tasks)]
  np.testing.assert_allclose(np.degrees(train), np.linspace(-10, 10, 5000), atol=1e-5)
  np.testing.assert_allclose(np.degrees(test), np.arange(-9.9, 10.0, 0.2), atol=1e-5)
  assert not set(train.tolist()) & set(test.tolist())
