"""Variants of families: `<name>+<variant>` is the family `<name>` with one thing changed, whichever family that is.

A variant is a function from family to family. Whatever steps the family (a compiled program, native MuJoCo, MJX, Brax,
Gymnasium) reads what it changed, so that no family needs to know of it.

  time_to_go   one more entry of the observation, its last: (H - t) / H at step t of an episode of at most H steps. A
               return up to a time limit depends on it, and no other entry shows it.
"""

from collections.abc import Callable

import jax.numpy as jnp

from macaw_jax.envs.family import TaskFamily
from macaw_jax.types import Array


def with_time_to_go(family: TaskFamily) -> TaskFamily:
  """The family whose observations [O] end with the fraction of the episode's steps that is left, [O + 1]."""

  def show(observation: Array, time_to_go: Array) -> Array:
    shown = family.show(observation, time_to_go)
    return jnp.concatenate([shown, jnp.asarray(time_to_go, shown.dtype)[None]])

  state_of = family.state_of
  return family._replace(
    observation_size=family.observation_size + 1,
    show=show,
    state_of=None if state_of is None else lambda task, shown: state_of(task, shown[:-1]),
  )


VARIANTS: dict[str, Callable[[TaskFamily], TaskFamily]] = {"time_to_go": with_time_to_go}
