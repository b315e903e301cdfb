"""Values: targets and regression, as functions of arrays.

`reward` and `discount` belong to the step from `observation` to `next_observation`; a `discount` of zero says that
nothing follows.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import masked_mean
from macaw_jax.types import Array


def bootstrapped_returns(mc_return: Array, final_discount: Array, final_value: Array) -> Array:
  """y_t = R_t + gamma^(T - t) V(s_T): the return of the recorded steps plus the value of where the episode stopped.

  Three `[B]` to `[B]`; the discount is zero where the task itself ended the episode.
  """
  chex.assert_equal_shape([mc_return, final_discount, final_value])
  return mc_return + final_discount * final_value


def td_lambda_returns(reward: Array, discount: Array, next_value: Array, last: Array, lambda_: float) -> Array:
  """TD(lambda) returns along consecutive rows (Sutton and Barto 2018, equation 12.18, in its recursive form).

  G_t = r_t + gamma_t ((1 - lambda) V(s_{t+1}) + lambda G_{t+1}); where the next row belongs to another episode,
  and at the end of the slice, G_{t+1} is V(s_{t+1}).

  Args:
    reward: r_t, `[B]`, rows in order of time.
    discount: gamma_t, `[B]`; zero where the task itself ended the episode.
    next_value: V(s_{t+1}), `[B]`.
    last: 1.0 on the last row of an episode, `[B]`.
    lambda_: 0 gives one-step targets, 1 the recorded return to the end of the episode or slice, bootstrapped there.
  """
  chex.assert_rank(reward, 1)
  chex.assert_equal_shape([reward, discount, next_value, last])

  def backwards(following_return: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
    reward, discount, next_value, last = row
    following_return = jnp.where(last > 0, next_value, following_return)
    present_return = reward + discount * ((1.0 - lambda_) * next_value + lambda_ * following_return)
    return present_return, present_return

  _, returns = jax.lax.scan(backwards, next_value[-1], (reward, discount, next_value, last), reverse=True)
  return returns


def one_step_target(reward: Array, terminal: Array, next_value: Array, *, discount: float) -> Array:
  """R + gamma (1 - terminal) V(s'), under a stop-gradient: three `[...]` to `[...]`.

  Nothing follows where the task ended the episode; the end by a time limit is no terminal.
  """
  chex.assert_equal_shape([reward, terminal, next_value])
  return jax.lax.stop_gradient(reward + discount * (1.0 - terminal) * next_value)


def expectile_loss(difference: Array, expectile: float) -> Array:
  """Mean of `|expectile - 1{u < 0}| u^2`, u = target - prediction `[...]`, for an expectile in (0, 1).

  One half gives half the mean squared error; towards one, the prediction nears the largest target. Implicit Q-learning
  fits state values by it (Kostrikov et al. 2021, arXiv:2110.06169, equation 5).
  """
  weight = jnp.where(difference < 0, 1.0 - expectile, expectile)
  return jnp.mean(weight * difference**2)


def squared_error(prediction: Array, target: Array, mask: Array | None = None) -> Array:
  """Mean (prediction - target)^2 over the rows that count: `[...], [...] -> []`."""
  chex.assert_equal_shape([prediction, target])
  return masked_mean(jnp.square(prediction - target), mask)


def twin_squared_error(values: Array, target: Array) -> Array:
  """Sum over two critics of the mean of (Q_j(s, a) - y)^2, y under a stop-gradient: `[2, ...], [...] -> []`."""
  chex.assert_shape(values, (2, *target.shape))
  return jnp.mean(jnp.sum((values - jax.lax.stop_gradient(target)) ** 2, axis=0))
