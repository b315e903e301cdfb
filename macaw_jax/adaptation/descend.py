"""Adaptation by search: the latent that minimises an objective, by gradient descent from several places."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from macaw_jax.types import Array


def best_of_descents(
  objective: Callable[[Array], Array], starts: Array, *, kept: int, steps: int, step_size: float | Array
) -> Array:
  """The lowest of all latents on the way down from the `kept` best of the starts: `[S, L] -> [L]`.

  Each way takes `steps` steps of Adam, whose size falls linearly from `step_size` towards zero, within the smallest box
  that holds all starts: beyond it, an objective that was learned from them says nothing. A start counts as a latent on
  its way, so that the result is never worse than the best start.

  Args:
    objective: `(latent [L]) -> []`, to be minimised.
    starts: S latents.
    kept: Starts to go on from, those where the objective is lowest; all, where there are not more.
    steps: Steps of each way.
    step_size: The size of the first.
  """
  optimizer = optax.adam(optax.linear_schedule(step_size, 0.0, steps))
  low, high = jnp.min(starts, axis=0), jnp.max(starts, axis=0)
  _, best = jax.lax.top_k(-jax.vmap(objective)(starts), min(kept, len(starts)))

  def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], tuple[Array, Array]]:
    latent, opt_state = carry
    value, gradient = jax.value_and_grad(objective)(latent)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return (jnp.clip(optax.apply_updates(latent, updates), low, high), opt_state), (value, latent)

  def way(start: Array) -> tuple[Array, Array]:
    # One step more than are taken, for the value where the last one ends.
    _, (values, latents) = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps + 1)
    lowest = jnp.argmin(values)
    return values[lowest], latents[lowest]

  values, latents = jax.vmap(way)(starts[best])
  return latents[jnp.argmin(values)]
