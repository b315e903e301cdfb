"""Value targets and value losses, bound to a value network.

A value loss of MACAW is made by a `MakeValueLoss`: whoever calls an algorithm can hand in another.
"""

from collections.abc import Callable

import jax

from macaw_jax.hyperparameters import check_choice, check_shares
from macaw_jax.losses.values import bootstrapped_returns, squared_error, td_lambda_returns
from macaw_jax.types import Array, Key, LossFn, Metrics, Network, Params, Transition

Target = Callable[[dict[str, Params], Transition], Array]
"""`(params, batch) -> [B]`: an estimate of the return, under a stop-gradient."""

MakeValueLoss = Callable[[Network, Target], LossFn]
"""`(value, target) -> loss` of the part `value`; `value_regression` is one."""

TARGETS = ("monte_carlo", "bootstrapped", "td_lambda")


def monte_carlo() -> Target:
  """The recorded discounted return to the end of the episode, nothing bootstrapped."""
  return lambda params, batch: batch.mc_return


def bootstrapped(value: Network, part: str = "value") -> Target:
  """`bootstrapped_returns` with the value network's parameters called `part`, under a stop-gradient.

  The released MACAW code bootstraps at every end, a fall included; here `final_discount` decides.
  """

  def target(params: dict[str, Params], batch: Transition) -> Array:
    final_value = value.apply(params[part], batch.final_observation)
    return jax.lax.stop_gradient(bootstrapped_returns(batch.mc_return, batch.final_discount, final_value))

  return target


def td_lambda(value: Network, *, discount: float, lambda_: float, part: str = "value") -> Target:
  """`td_lambda_returns` with the value network's parameters called `part`, under a stop-gradient.

  The batch must be consecutive rows of a task's data. Raises ValueError for a discount or lambda outside [0, 1].
  """
  check_shares(discount=discount, lambda_=lambda_)

  def target(params: dict[str, Params], batch: Transition) -> Array:
    next_value = value.apply(params[part], batch.next_observation)
    discounts = discount * (1.0 - batch.terminal)
    return jax.lax.stop_gradient(td_lambda_returns(batch.reward, discounts, next_value, batch.last, lambda_))

  return target


def make_target(name: str, value: Network, *, discount: float, lambda_: float, part: str = "value") -> Target:
  """The target called `name`: 'monte_carlo', 'bootstrapped' or 'td_lambda'. Raises ValueError for any other."""
  check_choice(TARGETS, target=name)
  if name == "monte_carlo":
    return monte_carlo()
  if name == "bootstrapped":
    return bootstrapped(value, part)
  return td_lambda(value, discount=discount, lambda_=lambda_, part=part)


def value_regression(value: Network, target: Target, part: str = "value") -> LossFn:
  """L_V = mean (V(s) - y)^2, the target y under a stop-gradient (Mitchell et al. 2021, equation 1)."""

  def loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    prediction = value.apply(params[part], batch.observation)
    error = squared_error(prediction, jax.lax.stop_gradient(target(params, batch)), batch.mask)
    return error, {"value_loss": error}

  return loss
