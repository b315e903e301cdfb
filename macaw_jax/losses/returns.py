"""Returns and advantages of whole episodes, and statistics over the steps that happened.

Time is the last axis; the leading axes `...` are whatever the caller has, episodes by custom. `mask` is 1.0 on every
step up to and including the one that ends the episode, 0.0 after it. A function that takes it reads nothing where it
is zero.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.types import Array, Trajectory

# In units of the numbers that advantages are differences of: smaller ones are rounding errors, which would teach if
# they were made as large as others.
SMALLEST_DEVIATION = 1e-6


def decayed_sum(values: Array, decay: float | Array, *, reverse: bool = False) -> Array:
  """s_t = x_t + decay s_{t-1} along time; with `reverse`, s_t = x_t + decay s_{t+1}: `[..., H] -> [..., H]`.

  Beyond the ends s is zero.
  """

  def accumulate(previous: Array, value: Array) -> tuple[Array, Array]:
    present = value + decay * previous
    return present, present

  steps_first = jnp.moveaxis(values, -1, 0)
  _, sums = jax.lax.scan(accumulate, jnp.zeros_like(steps_first[0]), steps_first, reverse=reverse)
  return jnp.moveaxis(sums, 0, -1)


def reward_of(episodes: Trajectory) -> Array:
  """The rewards of episodes. Raises ValueError where they have none."""
  if episodes.reward is None:
    raise ValueError("these episodes have no rewards, and adaptation reads them")
  return episodes.reward


def returns_to_go(reward: Array, discount: float | Array) -> Array:
  """G_t = sum_{j >= t} discount^(j - t) r_j to the end of the episode, nothing bootstrapped: `[..., H] -> [..., H]`.

  Rewards after the end of an episode must be zero.
  """
  return decayed_sum(reward, discount, reverse=True)


def generalised_advantage(
  reward: Array, value: Array, mask: Array, discount: float | Array, lambda_: float | Array
) -> Array:
  """A_t = sum_{j >= t} (discount lambda)^(j - t) (r_j + discount V_{j+1} - V_j) (Schulman et al. 2016, equation 16).

  Three `[..., H]` to `[..., H]`, zero where masked. The value after an episode's last step is zero, however the episode
  ended: nothing is bootstrapped. Lambda = 0 gives the one-step errors, lambda = 1 the return to go minus the value.
  """
  chex.assert_equal_shape([reward, value, mask])
  value = jnp.where(mask > 0, value, 0.0)
  next_value = jnp.concatenate([value[..., 1:], jnp.zeros_like(value[..., :1])], axis=-1)
  error = jnp.where(mask > 0, reward + discount * next_value - value, 0.0)
  return decayed_sum(error, discount * lambda_, reverse=True)


def masked_mean(values: Array, mask: Array | None) -> Array:
  """Mean over the entries whose mask is 1, of all axes: `[...], [...] -> []`; zero if there are none.

  Without a mask all entries count.
  """
  if mask is None:
    return jnp.mean(values)
  chex.assert_equal_shape([values, mask])
  return jnp.sum(jnp.where(mask > 0, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1.0)


def normalise_advantage(advantage: Array, mask: Array, scale: float | Array = 1.0) -> Array:
  """(A - mean) / std over the valid entries of all axes, which belong to one task: `[...], [...] -> [...]`.

  Zero where masked. `scale` is the size of the returns and values whose differences A are. Where the standard deviation
  is below 1e-6 max(1, scale) all entries are zero: equal returns prefer no action. The gradient is finite.
  """
  centred = jnp.where(mask > 0, advantage - masked_mean(advantage, mask), 0.0)
  # The mean of equal numbers is rounded; what is left of them is equal again, and small enough to vanish now.
  centred = jnp.where(mask > 0, centred - masked_mean(centred, mask), 0.0)
  variance = masked_mean(jnp.square(centred), mask)
  informative = variance > jnp.square(SMALLEST_DEVIATION * jnp.maximum(scale, 1.0))
  deviation = jnp.sqrt(jnp.where(informative, variance, 1.0))
  return jnp.where(informative, centred / deviation, 0.0)
