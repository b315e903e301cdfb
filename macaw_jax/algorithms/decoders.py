"""Decoders, which predict the outcomes of states and actions from the latent of their task.

A decoder is handed to an algorithm as a value: `squared_error_decoder`, or `gaussian_decoders()` as UNICORN's released
code has them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from macaw_jax.algorithms.contextual import Reading
from macaw_jax.hyperparameters import check_not_negative
from macaw_jax.learners.gradient import init_parts
from macaw_jax.losses.likelihood import gaussian_misfit
from macaw_jax.networks.bounded_gaussian import bounded_gaussian, width_of_bounds
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.types import Array, Key, Params


class Decoder(NamedTuple):
  """A decoder of inputs (s, a, z), [..., I]; outcomes (r, s' - s), [..., R], are those of `Reading.prediction`.

  init:    `(key) -> params`
  predict: `(params, inputs) -> [..., R]`, the outcomes that it expects
  errors:  `(params, inputs, outcomes) -> [...]`, what it minimises the mean of
  """

  init: Callable[[Key], Params]
  predict: Callable[[Params, Array], Array]
  errors: Callable[[Params, Array, Array], Array]


MakeDecoder = Callable[[Reading, int, Sequence[int]], Decoder]
"""`(reading, latent_size, hidden_sizes) -> decoder`."""


def squared_error_decoder(reading: Reading, latent_size: int, hidden_sizes: Sequence[int]) -> Decoder:
  """One network for the whole outcome: (r^ - r)^2 plus the mean over coordinates of (c^ - (s' - s))^2."""
  network = transition_encoder(reading.behaviour_size + latent_size, reading.outcome_size, hidden_sizes)

  def errors(params: Params, inputs: Array, outcomes: Array) -> Array:
    return reading.over_outcome(jnp.square(network.apply(params, inputs) - outcomes))

  return Decoder(network.init, network.apply, errors)


def gaussian_decoders(bound_weight: float = 0.01) -> MakeDecoder:
  """A Gaussian for the reward and one for the change of state, by a network each (`bounded_gaussian`).

  Each minimises the mean over rows and coordinates of (mean - x)^2 / variance + log variance, + bound_weight (sum of
  the upper bounds of its log variances - sum of the lower ones).

  Args:
    bound_weight: Draws the bounds together.

  Raises:
    ValueError: for a weight below zero.
  """
  check_not_negative(bound_weight=bound_weight)

  def make(reading: Reading, latent_size: int, hidden_sizes: Sequence[int]) -> Decoder:
    sizes = {"reward": 1}
    if reading.next_observation:
      sizes["state"] = reading.problem.observation_size
    input_size = reading.behaviour_size + latent_size
    networks = {name: bounded_gaussian(input_size, size, hidden_sizes) for name, size in sizes.items()}

    def distribution(params: Params, inputs: Array) -> tuple[Array, Array]:
      """Mean and log variance of the outcomes, [..., R] each."""
      found = [network.apply(params[name], inputs) for name, network in networks.items()]
      means, log_variances = zip(*found, strict=True)
      return jnp.concatenate(means, axis=-1), jnp.concatenate(log_variances, axis=-1)

    def predict(params: Params, inputs: Array) -> Array:
      return distribution(params, inputs)[0]

    def errors(params: Params, inputs: Array, outcomes: Array) -> Array:
      width = sum(width_of_bounds(params[name]) for name in networks)
      return reading.over_outcome(gaussian_misfit(*distribution(params, inputs), outcomes)) + bound_weight * width

    return Decoder(init_parts({name: network.init for name, network in networks.items()}), predict, errors)

  return make
