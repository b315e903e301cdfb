"""K steps of gradient descent on a network's parameters, without a copy of any generator.

A weight-transform layer has theta = M z + c with M a hundred times larger than theta. With g_k = dL/dtheta at the
weights theta_k of step k, and step sizes a_z, a_M, a_c, gradient descent on (z, M, c) gives

  M_k = M - a_M sum_{i<k} g_i z_i^T,   c_k = c - a_c sum_{i<k} g_i,
  z_{k+1} = z_k - a_z M_k^T g_k = z_k - a_z (M^T g_k - a_M sum_{i<k} z_i (g_i . g_k)),
  theta_k = M_k z_k + c_k = M z_k + c - sum_{i<k} (a_M (z_i . z_k) + a_c) g_i,

so the pairs (z_i, g_i) suffice: the same numbers as copying M for every task, at the cost of products with
one M that all tasks share. Every other parameter is stepped as it stands.

A target network, target <- d target + (1 - d) adapted after each step and equal to the initial parameters before the
first, has the same form: its latent is averaged directly, and pair i counts 1 - d^(k - i) times.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from macaw_jax.adaptation.generator_gradient import adapted_weights, latent_gradient, shared_weights
from macaw_jax.hyperparameters import stop_gradient_if
from macaw_jax.networks.layers import flatten_units, is_weight_transform
from macaw_jax.types import Array, Params

Descent = tuple[Any, ...]
"""The state of a descent: one trail per weight-transform layer or other parameter, in the tree's order."""


class WeightTransformTrail(NamedTuple):
  """The steps that one weight-transform layer has made. `target_weights` is None without a target network."""

  latents: tuple[Array, ...]  # z_0 ... z_k, each [L]
  gradients: tuple[Array, ...]  # g_0 ... g_{k-1}, each [n_in + 1, n_out]
  weights: Params  # {"weights": theta_k}
  target_latent: Array  # [L]
  target_weights: Params | None


class PlainTrail(NamedTuple):
  """The present value of any other parameter, and its value in the target network."""

  weights: Array
  target_weights: Array | None


class Stepper(NamedTuple):
  """Gradient steps of one kind of parameter. `unit` is its initial value, `step_size` has the same structure."""

  init: Callable[[Any], Any]  # (unit) -> trail
  step: Callable[..., Any]  # (unit, step_size, trail, gradient) -> trail


def products_per_step(ema_decay: float | Array | None) -> int:
  """How many products with a generator one step makes: M^T g, M z, and M z for the target network if there is one."""
  return 2 if ema_decay is None else 3


def _weight_transform_stepper(stopped: Callable[[Array], Array], ema_decay: float | Array | None) -> Stepper:
  products = products_per_step(ema_decay)

  def init(unit: Params) -> WeightTransformTrail:
    weights = {"weights": shared_weights(unit) + unit["generator_bias"]}
    target_weights = None if ema_decay is None else weights
    return WeightTransformTrail((unit["latent"],), (), weights, unit["latent"], target_weights)

  def step(unit: Params, step_size: Params, trail: WeightTransformTrail, gradient: Params) -> WeightTransformTrail:
    gradient = stopped(gradient["weights"])
    first_product = products * len(trail.gradients)
    pull = latent_gradient(unit, gradient, first_product)
    for past_latent, past_gradient in zip(trail.latents, trail.gradients, strict=False):
      pull -= step_size["generator"] * past_latent * jnp.vdot(past_gradient, gradient)
    latent = trail.latents[-1] - step_size["latent"] * stopped(pull)
    gradients = (*trail.gradients, gradient)

    def weights_at(latent: Array, counts: Sequence[float | Array], product: int) -> Params:
      # (M - a_M sum_i count_i g_i z_i^T) z + c - a_c sum_i count_i g_i
      weights = adapted_weights(unit, latent, product) + unit["generator_bias"]
      for count, past_latent, past_gradient in zip(counts, trail.latents, gradients, strict=True):
        similarity = stopped(past_latent) @ latent
        weights -= count * (step_size["generator"] * similarity + step_size["generator_bias"]) * past_gradient
      return {"weights": weights}

    target_latent, target_weights = latent, None
    if ema_decay is not None:
      target_latent = ema_decay * trail.target_latent + (1.0 - ema_decay) * latent
      target_counts = [1.0 - ema_decay ** (len(gradients) - index) for index in range(len(gradients))]
      target_weights = weights_at(target_latent, target_counts, first_product + 2)
    return WeightTransformTrail(
      latents=(*trail.latents, latent),
      gradients=gradients,
      weights=weights_at(latent, [1.0] * len(gradients), first_product + 1),
      target_latent=target_latent,
      target_weights=target_weights,
    )

  return Stepper(init, step)


def _plain_stepper(stopped: Callable[[Array], Array], ema_decay: float | Array | None) -> Stepper:
  def init(unit: Array) -> PlainTrail:
    return PlainTrail(unit, None if ema_decay is None else unit)

  def step(unit: Array, step_size: Array, trail: PlainTrail, gradient: Array) -> PlainTrail:
    del unit
    weights = trail.weights - step_size * stopped(gradient)
    if ema_decay is None or trail.target_weights is None:
      return PlainTrail(weights, None)
    return PlainTrail(weights, ema_decay * trail.target_weights + (1.0 - ema_decay) * weights)

  return Stepper(init, step)


class GradientDescent(NamedTuple):
  """Gradient descent on a parameter tree, one step size per array.

  init:         `(params) -> Descent`
  step:         `(params, step_sizes, descent, gradients) -> Descent`; `gradients` has the structure of `weights`
  weights:      `(params, descent) -> effective weights` at the present step
  target_weights: likewise, of the target network
  """

  init: Callable[[Params], Descent]
  step: Callable[[Params, Params, Descent, Params], Descent]
  weights: Callable[[Params, Descent], Params]
  target_weights: Callable[[Params, Descent], Params]


def gradient_descent(*, first_order: bool | Array = False, ema_decay: float | Array | None = None) -> GradientDescent:
  """Gradient descent in the factored form above.

  Args:
    first_order: Whether the gradient through every inner gradient is stopped.
    ema_decay: The EMA decay d of the target network; None keeps none.
  """
  stopped = functools.partial(stop_gradient_if, first_order)
  weight_transform = _weight_transform_stepper(stopped, ema_decay)
  plain = _plain_stepper(stopped, ema_decay)

  def stepper_of(unit: Any) -> Stepper:
    return weight_transform if is_weight_transform(unit) else plain

  def init(params: Params) -> Descent:
    units, _ = flatten_units(params)
    return tuple(stepper_of(unit).init(unit) for unit in units)

  def step(params: Params, step_sizes: Params, descent: Descent, gradients: Params) -> Descent:
    units, treedef = flatten_units(params)
    rows = zip(units, treedef.flatten_up_to(step_sizes), descent, treedef.flatten_up_to(gradients), strict=True)
    return tuple(stepper_of(unit).step(unit, *rest) for unit, *rest in rows)

  def weights(params: Params, descent: Descent) -> Params:
    _, treedef = flatten_units(params)
    return treedef.unflatten(trail.weights for trail in descent)

  def target_weights(params: Params, descent: Descent) -> Params:
    _, treedef = flatten_units(params)
    return treedef.unflatten(trail.target_weights for trail in descent)

  return GradientDescent(init, step, weights, target_weights)
