"""Adaptation by policy-gradient steps with one step size for each parameter, and a learned offset."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import stop_gradient_if
from macaw_jax.types import Adaptation, Array, Key, LossFn, Metrics, Params, Trajectory


def policy_gradient_step(
  loss: LossFn,
  *,
  on: str = "policy",
  step_size: float | Array,
  learn_step_sizes: bool | Array = False,
  offset: bool | Array | None = None,
  offset_in_each_step: bool | Array = False,
  first_order: bool | Array = False,
) -> Adaptation:
  """As many gradient steps on the part called `on` as the support has sets of episodes.

  theta_1     = theta + offset - step sizes * grad loss(theta; episodes_0)
  theta_{k+1} = theta_k - step sizes * grad loss(theta_k; episodes_k)

  Step sizes and offset have one number for each parameter. The first are Meta-SGD's (Li et al. 2017): nothing keeps
  them positive. The offset is NoRML's (Yang et al. 2019, equation 5), and is added once, however many steps there
  are, unless it is to be added in each. Derivatives by parameters, step sizes and offset go through every step,
  backwards; episodes and the reported loss are data, and have none.

  Args:
    loss: `(params, episodes, key) -> (scalar, metrics)` of one set of episodes `[E, H, ...]`. Collection, the record of
      behaviour policies and meta-training must come to the same parameters, so it may not depend on the key; nor on
      anything that is differentiated, but through `params`.
    on: the part that changes.
    step_size: initial value of all step sizes.
    learn_step_sizes: whether meta-training learns them.
    offset: whether the offset, which starts at zero, is added and learned; None if there is none.
    offset_in_each_step: whether it is added in every step, and not in the first alone.
    first_order: whether meta-gradients ignore how an inner gradient depends on the parameters.

  The support of `apply` is a Trajectory `[K, E, H, ...]`; without any, K = 0, the part stays and no offset is added.
  """
  value_and_gradient = _value_and_gradient(loss, on)

  def init(net: dict[str, Params]) -> Params:
    rule = {"step_size": jax.tree.map(lambda leaf: jnp.full(leaf.shape, step_size, leaf.dtype), net[on])}
    return rule if offset is None else rule | {"offset": jax.tree.map(jnp.zeros_like, net[on])}

  def apply(net: dict[str, Params], rule: Params, support: Trajectory, key: Key) -> tuple[dict[str, Params], Metrics]:
    fixed = jnp.logical_not(learn_step_sizes)
    step_sizes = jax.tree.map(partial(stop_gradient_if, fixed), rule["step_size"])
    params, metrics = net[on], {}
    num_steps = support.mask.shape[0]
    for index, step_key in enumerate(jax.random.split(key, num_steps)):
      episodes = jax.tree.map(lambda leaf, index=index: leaf[index], support)
      metrics[f"inner_loss_{index}"], gradient = value_and_gradient(net | {on: params}, episodes, step_key)
      gradient = jax.tree.map(partial(stop_gradient_if, first_order), gradient)
      params = jax.tree.map(lambda weight, size, slope: weight - size * slope, params, step_sizes, gradient)
      if offset is not None:
        condition = jnp.logical_and(offset, jnp.logical_or(index == 0, offset_in_each_step))
        params = _add_if(condition, params, rule["offset"])
    return {on: params}, metrics

  return Adaptation(init, apply)


def _add_if(condition: Array, params: Params, added: Params) -> Params:
  """The sum of two trees where the condition is true, else the first."""
  return jax.tree.map(lambda weight, more: weight + jnp.where(condition, more, 0.0), params, added)


def _value_and_gradient(loss: LossFn, on: str) -> Callable[[dict[str, Params], Trajectory, Key], tuple[Array, Params]]:
  """`(net, episodes, key) -> (loss, its gradient g by the part called on)`, to be differentiated backwards.

  Second derivatives are symmetric: the gradient of <g, v> by all parts is the derivative, along v, of the loss's
  gradient by all parts. That is one pass forwards over the first gradient, where differentiating it backwards again
  takes about a third more time for the whole update. Episodes are data and the loss is only reported: neither has a
  gradient.
  """

  def value_and_gradient(net: dict[str, Params], episodes: Trajectory, key: Key) -> tuple[Array, Params]:
    value, gradient = jax.value_and_grad(lambda part: loss(net | {on: part}, episodes, key)[0])(net[on])
    return value, gradient

  def forwards(net: dict[str, Params], episodes: Trajectory, key: Key) -> Any:
    return value_and_gradient(net, episodes, key), (net, episodes, key)

  def backwards(seen: Any, cotangents: tuple[Array, Params]) -> Any:
    (net, episodes, key), (_, direction) = seen, cotangents

    def gradient_of_all(part: Params) -> dict[str, Params]:
      return jax.grad(lambda net: loss(net, episodes, key)[0])(net | {on: part})

    _, along = jax.jvp(gradient_of_all, (net[on],), (direction,))
    return along, None, None

  differentiable = jax.custom_vjp(value_and_gradient)
  differentiable.defvjp(forwards, backwards)
  return differentiable
