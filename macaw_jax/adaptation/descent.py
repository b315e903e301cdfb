"""K steps of gradient descent on a network's parameters, without a copy of any generator.

A weight-transform layer has theta = M z + c with M a hundred times larger than theta. With g_k = dL/dtheta at the
weights theta_k of step k, and step sizes a_z, a_M, a_c, gradient descent on (z, M, c) gives

  M_k = M - a_M sum_{i<k} g_i z_i^T,   c_k = c - a_c sum_{i<k} g_i,
  z_{k+1} = z_k - a_z M_k^T g_k = z_k - a_z (M^T g_k - a_M sum_{i<k} z_i (g_i . g_k)),
  theta_k = M_k z_k + c_k = M z_k + c - sum_{i<k} (a_M (z_i . z_k) + a_c) g_i,

so the pairs (z_i, g_i) say everything: the same numbers as copying M for every task, at the cost of products with
one M that all tasks share. Every other parameter is stepped as it stands.

A slow copy of the parameters, slow <- d slow + (1 - d) adapted after each step and equal to the initial parameters
before the first, has the same form: its latent is averaged directly, and pair i counts 1 - d^(k - i) times.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.networks.layers import generate, generate_transposed, is_weight_transform
from macaw_jax.types import Array, Params

Descent = tuple[Any, ...]
"""Where a descent stands: one trail per weight-transform layer or other parameter, in the tree's order."""


class WeightTransformTrail(NamedTuple):
  """The steps that one weight-transform layer has made."""

  latents: tuple[Array, ...]  # z_0 ... z_k, each [L]
  slow_latent: Array  # [L]
  gradients: tuple[Array, ...]  # g_0 ... g_{k-1}, each [n_in + 1, n_out]


class PlainTrail(NamedTuple):
  """The present and the slow value of any other parameter."""

  value: Array
  slow_value: Array


class Stepper(NamedTuple):
  """How one kind of parameter descends. `unit` is its initial value, `step_size` has the same structure."""

  init: Callable[[Any], Any]  # (unit) -> trail
  step: Callable[..., Any]  # (unit, step_size, trail, gradient) -> trail
  weights: Callable[..., Any]  # (unit, step_size, trail) -> effective weights
  slow_weights: Callable[..., Any]  # likewise


def _weight_transform_stepper(held: Callable[[Array], Array], slow_decay: float) -> Stepper:
  def init(unit: Params) -> WeightTransformTrail:
    return WeightTransformTrail((unit["latent"],), unit["latent"], ())

  def combine(unit: Params, step_size: Params, trail: WeightTransformTrail, latent: Array, counts: Any) -> Params:
    # (M - a_M sum_i count_i g_i z_i^T) z + c - a_c sum_i count_i g_i
    weights = generate(unit["generator"], latent) + unit["generator_bias"]
    for count, past_latent, gradient in zip(counts, trail.latents, trail.gradients, strict=False):
      similarity = held(past_latent) @ latent
      weights -= count * (step_size["generator"] * similarity + step_size["generator_bias"]) * gradient
    return {"weights": weights}

  def weights(unit: Params, step_size: Params, trail: WeightTransformTrail) -> Params:
    return combine(unit, step_size, trail, trail.latents[-1], [1.0] * len(trail.gradients))

  def slow_weights(unit: Params, step_size: Params, trail: WeightTransformTrail) -> Params:
    steps = len(trail.gradients)
    counts = [1.0 - slow_decay ** (steps - index) for index in range(steps)]
    return combine(unit, step_size, trail, trail.slow_latent, counts)

  def step(unit: Params, step_size: Params, trail: WeightTransformTrail, gradient: Params) -> WeightTransformTrail:
    gradient = held(gradient["weights"])
    pull = generate_transposed(unit["generator"], gradient)
    for past_latent, past_gradient in zip(trail.latents, trail.gradients, strict=False):
      pull -= step_size["generator"] * past_latent * jnp.vdot(past_gradient, gradient)
    latent = trail.latents[-1] - step_size["latent"] * held(pull)
    return WeightTransformTrail(
      latents=(*trail.latents, latent),
      slow_latent=slow_decay * trail.slow_latent + (1.0 - slow_decay) * latent,
      gradients=(*trail.gradients, gradient),
    )

  return Stepper(init, step, weights, slow_weights)


def _plain_stepper(held: Callable[[Array], Array], slow_decay: float) -> Stepper:
  def step(unit: Array, step_size: Array, trail: PlainTrail, gradient: Array) -> PlainTrail:
    del unit
    value = trail.value - step_size * held(gradient)
    return PlainTrail(value, slow_decay * trail.slow_value + (1.0 - slow_decay) * value)

  return Stepper(
    init=lambda unit: PlainTrail(unit, unit),
    step=step,
    weights=lambda unit, step_size, trail: trail.value,
    slow_weights=lambda unit, step_size, trail: trail.slow_value,
  )


class GradientDescent(NamedTuple):
  """Gradient descent on a parameter tree, one step size per array.

  init:         `(params) -> Descent`
  step:         `(params, step_sizes, descent, gradients) -> Descent`; `gradients` has the structure of `weights`
  weights:      `(params, step_sizes, descent) -> effective weights` at the present step
  slow_weights: likewise, of the slow copy
  """

  init: Callable[[Params], Descent]
  step: Callable[[Params, Params, Descent, Params], Descent]
  weights: Callable[[Params, Params, Descent], Params]
  slow_weights: Callable[[Params, Params, Descent], Params]


def gradient_descent(*, first_order: bool = False, slow_decay: float = 0.9) -> GradientDescent:
  """Gradient descent in the factored form above.

  Args:
    first_order: Hold every inner gradient fixed when differentiating through the steps.
    slow_decay: The decay d of the slow copy.
  """
  held = jax.lax.stop_gradient if first_order else lambda x: x
  weight_transform = _weight_transform_stepper(held, slow_decay)
  plain = _plain_stepper(held, slow_decay)

  def stepper_of(unit: Any) -> Stepper:
    return weight_transform if is_weight_transform(unit) else plain

  def flatten(params: Params) -> tuple[list[Any], Any]:
    return jax.tree.flatten(params, is_leaf=is_weight_transform)

  def init(params: Params) -> Descent:
    units, _ = flatten(params)
    return tuple(stepper_of(unit).init(unit) for unit in units)

  def step(params: Params, step_sizes: Params, descent: Descent, gradients: Params) -> Descent:
    units, treedef = flatten(params)
    rows = zip(units, treedef.flatten_up_to(step_sizes), descent, treedef.flatten_up_to(gradients), strict=True)
    return tuple(stepper_of(unit).step(unit, *rest) for unit, *rest in rows)

  def read(field: str) -> Callable[[Params, Params, Descent], Params]:
    def weights(params: Params, step_sizes: Params, descent: Descent) -> Params:
      units, treedef = flatten(params)
      rows = zip(units, treedef.flatten_up_to(step_sizes), descent, strict=True)
      return treedef.unflatten(getattr(stepper_of(unit), field)(unit, *rest) for unit, *rest in rows)

    return weights

  return GradientDescent(init, step, read("weights"), read("slow_weights"))
