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

import dataclasses
from collections.abc import Sequence
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

  weights: Params  # {"weights": theta_k}
  target_weights: Params | None
  latents: tuple[Array, ...]  # z_0 ... z_k, each [L]
  gradients: tuple[Array, ...]  # g_0 ... g_{k-1}, each [n_in + 1, n_out]
  target_latent: Array  # [L]


class PlainTrail(NamedTuple):
  """The present value of any other parameter, and its value in the target network."""

  weights: Array
  target_weights: Array | None


@dataclasses.dataclass(frozen=True)
class GradientDescent:
  """Gradient descent on a parameter tree in the factored form above, one step size per array."""

  first_order: bool | Array = False  # whether the gradient through every inner gradient is stopped
  ema_decay: float | Array | None = None  # d, of the target network; None keeps none

  @property
  def products_per_step(self) -> int:
    """Products with a generator that a step makes: M^T g, M z, and M z for the target network if there is one."""
    return 2 if self.ema_decay is None else 3

  def init(self, params: Params) -> Descent:
    """The state before the first step."""
    return tuple(self._start(unit) for unit in flatten_units(params)[0])

  def step(self, params: Params, step_sizes: Params, descent: Descent, gradients: Params) -> Descent:
    """The state after one more step; `gradients` has the structure of `weights`."""
    units, treedef = flatten_units(params)
    rows = zip(units, treedef.flatten_up_to(step_sizes), descent, treedef.flatten_up_to(gradients), strict=True)
    return tuple(self._step_layer(*row) if is_weight_transform(row[0]) else self._step_array(*row[1:]) for row in rows)

  def weights(self, params: Params, descent: Descent) -> Params:
    """The effective weights at the present step."""
    return flatten_units(params)[1].unflatten(trail.weights for trail in descent)

  def target_weights(self, params: Params, descent: Descent) -> Params:
    """Those of the target network."""
    return flatten_units(params)[1].unflatten(trail.target_weights for trail in descent)

  def _stopped(self, value: Array) -> Array:
    return stop_gradient_if(self.first_order, value)

  def _start(self, unit: Any) -> WeightTransformTrail | PlainTrail:
    if not is_weight_transform(unit):
      return PlainTrail(unit, None if self.ema_decay is None else unit)
    weights = {"weights": shared_weights(unit) + unit["generator_bias"]}
    target_weights = None if self.ema_decay is None else weights
    return WeightTransformTrail(weights, target_weights, (unit["latent"],), (), unit["latent"])

  def _step_array(self, step_size: Array, trail: PlainTrail, gradient: Array) -> PlainTrail:
    weights = trail.weights - step_size * self._stopped(gradient)
    if self.ema_decay is None or trail.target_weights is None:
      return PlainTrail(weights, None)
    return PlainTrail(weights, self.ema_decay * trail.target_weights + (1.0 - self.ema_decay) * weights)

  def _step_layer(
    self, unit: Params, step_size: Params, trail: WeightTransformTrail, gradient: Params
  ) -> WeightTransformTrail:
    gradient = self._stopped(gradient["weights"])
    first_product = self.products_per_step * len(trail.gradients)
    pull = latent_gradient(unit, gradient, first_product)
    for past_latent, past_gradient in zip(trail.latents, trail.gradients, strict=False):
      pull -= step_size["generator"] * past_latent * jnp.vdot(past_gradient, gradient)
    latent = trail.latents[-1] - step_size["latent"] * self._stopped(pull)
    gradients = (*trail.gradients, gradient)

    def weights_at(latent: Array, counts: Sequence[float | Array], product: int) -> Params:
      # (M - a_M sum_i count_i g_i z_i^T) z + c - a_c sum_i count_i g_i
      weights = adapted_weights(unit, latent, product) + unit["generator_bias"]
      for count, past_latent, past_gradient in zip(counts, trail.latents, gradients, strict=True):
        similarity = self._stopped(past_latent) @ latent
        weights -= count * (step_size["generator"] * similarity + step_size["generator_bias"]) * past_gradient
      return {"weights": weights}

    target_latent, target_weights, decay = latent, None, self.ema_decay
    if decay is not None:
      target_latent = decay * trail.target_latent + (1.0 - decay) * latent
      target_counts = [1.0 - decay ** (len(gradients) - index) for index in range(len(gradients))]
      target_weights = weights_at(target_latent, target_counts, first_product + 2)
    weights = weights_at(latent, [1.0] * len(gradients), first_product + 1)
    return WeightTransformTrail(weights, target_weights, (*trail.latents, latent), gradients, target_latent)
