import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses.values import (
  bootstrapped_returns,
  one_step_target,
  squared_error,
  td_lambda_returns,
  twin_squared_error,
)
from macaw_jax.objectives import make_target
from macaw_jax.types import Network, Transition

# Two episodes of three and two steps, gamma = 1/2; the first is cut by the time limit, the second ends by itself.
REWARD = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
DISCOUNT = jnp.array([0.5, 0.5, 0.5, 0.5, 0.0])
NEXT_VALUE = jnp.array([10.0, 20.0, 40.0, 80.0, 160.0])
LAST = jnp.array([0.0, 0.0, 1.0, 0.0, 1.0])


def returns(lambda_, rows=slice(None)):
  return td_lambda_returns(REWARD[rows], DISCOUNT[rows], NEXT_VALUE[rows], LAST[rows], lambda_)


def test_lambda_zero_is_one_step():
  np.testing.assert_allclose(returns(0.0), [6.0, 12.0, 23.0, 44.0, 5.0])


def test_lambda_one_is_the_return_bootstrapped_at_the_time_limit_only():
  np.testing.assert_allclose(returns(1.0), [1 + 1 + 0.75 + 5, 2 + 1.5 + 10, 3 + 20, 4 + 2.5, 5])


def test_lambda_half_by_hand():
  third = 3 + 0.5 * 40
  second = 2 + 0.5 * (0.5 * 20 + 0.5 * third)
  first = 1 + 0.5 * (0.5 * 10 + 0.5 * second)
  np.testing.assert_allclose(returns(0.5)[:3], [first, second, third])


def test_slice_that_stops_inside_an_episode_bootstraps_there():
  np.testing.assert_allclose(returns(1.0, slice(0, 2)), [1 + 0.5 * 2 + 0.25 * 20, 2 + 0.5 * 20])


def test_lambda_one_equals_the_bootstrapped_return_to_the_end():
  mc_return, final_discount = jnp.array([2.75, 3.5, 3.0]), jnp.array([0.125, 0.25, 0.5])
  target = bootstrapped_returns(mc_return, final_discount, jnp.full((3,), 40.0))
  np.testing.assert_allclose(returns(1.0)[:3], target)


def test_squared_error_by_hand():
  np.testing.assert_allclose(squared_error(jnp.array([1.0, 2.0]), jnp.array([3.0, 2.0])), 2.0)


def test_shapes_are_checked():
  with pytest.raises(AssertionError):
    squared_error(jnp.zeros((3,)), jnp.zeros((3, 1)))
  with pytest.raises(AssertionError):
    td_lambda_returns(jnp.zeros((3,)), jnp.zeros((3,)), jnp.zeros((2,)), jnp.zeros((3,)), 0.5)


VALUE = Network(init=lambda key: jnp.ones(()), apply=lambda params, observation: params * observation[..., 0])
BATCH = Transition(
  observation=jnp.array([[1.0], [2.0]]),
  action=jnp.zeros((2, 1)),
  reward=jnp.array([1.0, 1.0]),
  next_observation=jnp.array([[2.0], [4.0]]),
  terminal=jnp.array([0.0, 0.0]),
  last=jnp.array([0.0, 1.0]),
  mc_return=jnp.array([1.5, 1.0]),
  final_observation=jnp.array([[4.0], [4.0]]),
  final_discount=jnp.array([0.25, 0.5]),
)


@pytest.mark.parametrize(
  ("name", "expected"),
  [("monte_carlo", [1.5, 1.0]), ("bootstrapped", [2.5, 3.0]), ("td_lambda", [2.25, 3.0])],
)
def test_targets_by_name(name, expected):
  target = make_target(name, VALUE, discount=0.5, lambda_=0.5)
  params = {"value": jnp.ones(())}
  np.testing.assert_allclose(target(params, BATCH), expected)
  gradient = jax.grad(lambda params: jnp.sum(target(params, BATCH)))(params)
  assert gradient["value"] == 0.0


def test_targets_that_cannot_be():
  with pytest.raises(ValueError, match="target='td'"):
    make_target("td", VALUE, discount=0.5, lambda_=0.5)
  with pytest.raises(ValueError, match=r"lambda_=1.5 must lie in \[0, 1\]"):
    make_target("td_lambda", VALUE, discount=0.5, lambda_=1.5)


def test_one_step_target_bootstraps_except_at_ends_of_the_task_and_is_held_fixed():
  reward, terminal, next_value = jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0]), jnp.array([2.0, 2.0])
  np.testing.assert_allclose(one_step_target(reward, terminal, next_value, discount=0.9), [2.8, 1.0], rtol=1e-6)
  gradient = jax.grad(lambda value: jnp.sum(one_step_target(reward, terminal, value, discount=0.9)))(next_value)
  np.testing.assert_array_equal(gradient, 0.0)


def test_twin_squared_error_adds_the_critics_and_holds_the_target_fixed():
  values, target = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.0, 1.0])
  # Means of (1, 1) and of (9, 9).
  np.testing.assert_allclose(twin_squared_error(values, target), 10.0)
  np.testing.assert_array_equal(jax.grad(twin_squared_error, 1)(values, target), 0.0)
