"""Two losses whose gradients conflict: what descent along their sum does, and what PCGrad does in its place.

Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", figure 1 and appendix D, on two parameters:

  L1 = 20 log max(|theta_1 / 2 + tanh theta_2|, 5e-6)
  L2 = 25 log max(|theta_1 / 2 - tanh theta_2 + 2|, 5e-6)

Each loss is a narrow, curved valley with steep walls; the two meet at theta_1 = -2 where theta_2 grows without end. A
step across a valley meets gradients of any size, so that paths differ after a change of the start by 1e-9; where they
lead does not.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.learners.gradient_surgery import mean_gradient, pcgrad
from macaw_jax.types import Array, Key

STARTS = ((0.5, -3.0), (2.0, -1.0), (-3.0, -1.0))
LEARNING_RATE = 1e-2
STEPS = 40_000
FLOOR = 5e-6


class Trajectory(NamedTuple):
  """Descent by Adam: the parameters before each update, and both losses at them."""

  theta: np.ndarray  # [S, 2]
  losses: np.ndarray  # [S, 2]


def losses(theta: Array) -> Array:
  """L1 and L2 at theta `[2]`: `[2]`. On a floor the gradient is zero."""
  first = jnp.abs(0.5 * theta[0] + jnp.tanh(theta[1]))
  second = jnp.abs(0.5 * theta[0] - jnp.tanh(theta[1]) + 2.0)
  return jnp.array([20.0, 25.0]) * jnp.log(jnp.maximum(jnp.stack([first, second]), FLOOR))


def gradients(theta: Array) -> Array:
  """The gradients of both losses, `[2 losses, 2 parameters]`."""
  return jax.jacrev(losses)(theta)


def descend(start: tuple[float, float], *, surgery: bool, steps: int = STEPS) -> Trajectory:
  """Adam with a learning rate of 0.01 on the sum of both losses, by PCGrad or by the plain gradient.

  Args:
    start: theta before the first update.
    surgery: Whether the gradients of the two losses are combined by PCGrad.
    steps: Updates.
  """
  with jax.enable_x64(True):  # The walls are so steep that rounding to float32 alone makes another path.
    theta, found = _descend(jnp.asarray(start), surgery=surgery, steps=steps)
  return Trajectory(np.asarray(theta), np.asarray(found))


def medians(trajectory: Trajectory, window: int) -> np.ndarray:
  """L1 and L2 on the way: the medians over each `window` updates, `[S / window, 2]`."""
  return np.median(trajectory.losses.reshape(-1, window, 2), axis=1)


def settled(trajectory: Trajectory, steps: int) -> np.ndarray:
  """L1 and L2 after so many updates: the medians over the last tenth of them, `[2]`. Within a valley both are spiky."""
  return np.median(trajectory.losses[steps - steps // 10 : steps], axis=0)


@functools.partial(jax.jit, static_argnames=("surgery", "steps"))
def _descend(start: Array, *, surgery: bool, steps: int) -> tuple[Array, Array]:
  combine = (pcgrad(order="fixed") if surgery else mean_gradient()).combine  # Two tasks have one order.
  optimizer = optax.adam(LEARNING_RATE)

  def update(state: tuple[Array, optax.OptState], key: Key) -> tuple[tuple[Array, optax.OptState], tuple[Array, Array]]:
    theta, opt_state = state
    mean, _ = combine(gradients(theta), key)
    updates, opt_state = optimizer.update(2.0 * mean, opt_state)  # The sum over both losses.
    return (optax.apply_updates(theta, updates), opt_state), (theta, losses(theta))

  keys = jax.random.split(jax.random.key(0), steps)
  return jax.lax.scan(update, (start, optimizer.init(start)), keys)[1]
