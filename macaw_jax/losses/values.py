"""State values: what they are regressed on, and the regression.

Array-level functions act on one batch of one task, `[B]`. A `Target` binds them to the network that bootstraps.
Conventions: `reward` and `discount` belong to the step from `observation` to `next_observation`; a `discount` of
zero says that nothing follows.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import require
from macaw_jax.types import Array, Key, LossFn, Metrics, Network, Params, Transition

Target = Callable[[dict[str, Params], Transition], Array]
"""`(params, batch) -> [B]`: an estimate of the return, held fixed."""


def bootstrapped_returns(mc_return: Array, final_discount: Array, final_value: Array) -> Array:
  """The return of the recorded steps plus the value of where the episode stopped.

  y_t = R_t + gamma^(T - t) V(s_T), the multi-step target that reaches to the episode's end.

  Args:
    mc_return: R_t, `[B]`.
    final_discount: gamma^(T - t), `[B]`; zero where the task itself ended the episode.
    final_value: V(s_T), `[B]`.
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
  """R + gamma (1 - terminal) V(s'), held fixed: nothing follows an end that belongs to the task.

  Args:
    reward: r, `[...]`.
    terminal: 1.0 where the task ended the episode, `[...]`; the end by a time limit is no terminal.
    next_value: V(s'), `[...]`.
    discount: gamma.
  """
  chex.assert_equal_shape([reward, terminal, next_value])
  return jax.lax.stop_gradient(reward + discount * (1.0 - terminal) * next_value)


def squared_error(prediction: Array, target: Array) -> Array:
  """Mean (prediction - target)^2 over a batch: `[...], [...] -> []`."""
  chex.assert_equal_shape([prediction, target])
  return jnp.mean(jnp.square(prediction - target))


def twin_squared_error(values: Array, target: Array) -> Array:
  """Sum over two critics of the mean of (Q_j(s, a) - y)^2, the target y held fixed: `[2, ...], [...] -> []`."""
  chex.assert_shape(values, (2, *target.shape))
  return jnp.mean(jnp.sum((values - jax.lax.stop_gradient(target)) ** 2, axis=0))


def monte_carlo() -> Target:
  """The recorded discounted return to the end of the episode, nothing bootstrapped."""
  return lambda params, batch: batch.mc_return


def bootstrapped(value: Network, part: str = "value") -> Target:
  """`bootstrapped_returns` with the value network's parameters called `part`, held fixed.

  The released MACAW code bootstraps at every end, a fall included; here `final_discount` decides.
  """

  def target(params: dict[str, Params], batch: Transition) -> Array:
    final_value = value.apply(params[part], batch.final_observation)
    return jax.lax.stop_gradient(bootstrapped_returns(batch.mc_return, batch.final_discount, final_value))

  return target


def td_lambda(value: Network, *, discount: float, lambda_: float, part: str = "value") -> Target:
  """`td_lambda_returns` with the value network's parameters called `part`, held fixed.

  The batch must be consecutive rows of a task's data. Raises ValueError for a discount or lambda outside [0, 1].
  """
  for name, number in (("discount", discount), ("lambda_", lambda_)):
    require((number >= 0.0) & (number <= 1.0), f"{name}={number} must lie in [0, 1]")

  def target(params: dict[str, Params], batch: Transition) -> Array:
    next_value = value.apply(params[part], batch.next_observation)
    discounts = discount * (1.0 - batch.terminal)
    return jax.lax.stop_gradient(td_lambda_returns(batch.reward, discounts, next_value, batch.last, lambda_))

  return target


def make_target(name: str, value: Network, *, discount: float, lambda_: float, part: str = "value") -> Target:
  """The target called `name`: 'monte_carlo', 'bootstrapped' or 'td_lambda'. Raises ValueError for any other."""
  if name == "monte_carlo":
    return monte_carlo()
  if name == "bootstrapped":
    return bootstrapped(value, part)
  if name == "td_lambda":
    return td_lambda(value, discount=discount, lambda_=lambda_, part=part)
  raise ValueError(f"target {name!r} is unknown; choose monte_carlo, bootstrapped or td_lambda")


def value_regression(value: Network, target: Target, part: str = "value") -> LossFn:
  """Mean (V(s) - y)^2 with the target y held fixed (Mitchell et al. 2021, equation 1)."""

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    del key
    prediction = value.apply(params[part], batch.observation)
    error = squared_error(prediction, jax.lax.stop_gradient(target(params, batch)))
    return error, {"value_loss": error}

  return loss
