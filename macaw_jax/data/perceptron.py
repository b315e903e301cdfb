"""Small networks that are fitted to a dataset: rectified layers, and a fit in one compiled scan."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.types import Array, Key

Layers = list[tuple[Array, Array]]  # weights [n_in, n_out] and biases [n_out] of each
Fitted = TypeVar("Fitted")


def init_layers(key: Key, sizes: Sequence[int], *, output_scale: float = 1.0) -> Layers:
  """Layers with normal weights of variance 2 / n_in, those of the last times `output_scale`, and biases of zero."""
  layers = [
    (jax.random.normal(key, (n_in, n_out)) * np.sqrt(2.0 / n_in), jnp.zeros(n_out))
    for key, n_in, n_out in zip(jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True)
  ]
  weights, biases = layers[-1]
  return [*layers[:-1], (output_scale * weights, biases)]


def apply_layers(layers: Layers, rows: Array) -> Array:
  """`[..., n_in] -> [..., n_out]`, rectified between layers."""
  for weights, biases in layers[:-1]:
    rows = jax.nn.relu(rows @ weights + biases)
  weights, biases = layers[-1]
  return rows @ weights + biases


@partial(jax.jit, static_argnames=("loss", "steps", "learning_rate", "weight_decay"))
def fit(
  loss: Callable[[Fitted, tuple[Array, ...], Key], Array],
  params: Fitted,
  data: tuple[Array, ...],
  key: Key,
  *,
  steps: int,
  learning_rate: float,
  weight_decay: float,
) -> Fitted:
  """The parameters after `steps` steps of AdamW on `loss(params, data, key)`; the rate falls to zero along a cosine."""
  optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps), weight_decay=weight_decay)

  def step(state: tuple[Fitted, optax.OptState], key: Key) -> tuple[tuple[Fitted, optax.OptState], None]:
    params, opt_state = state
    updates, opt_state = optimizer.update(jax.grad(loss)(params, data, key), opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), None

  (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, steps))
  return params
