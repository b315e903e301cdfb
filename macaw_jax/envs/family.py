"""A task family: many tasks that share states, actions and physics, and differ in a few numbers.

A family is pure functions on one task and one state. The physics is named apart from them, so that one set of
observation and reward functions serves every engine.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from macaw_jax.types import Array, Key

Task = Any  # A pytree of arrays: the numbers in which tasks differ.
State = Any  # A pytree of arrays.


class Physics(NamedTuple):
  """State of a MuJoCo model, in its own units (metres, radians, seconds)."""

  qpos: Array  # [..., nq]
  qvel: Array  # [..., nv]


class AnalyticDynamics(NamedTuple):
  """Physics as one JAX function: `step(task, state, action) -> state`."""

  step: Callable[[Task, State, Array], State]


class MujocoDynamics(NamedTuple):
  """Physics of a MuJoCo model; its states are `Physics`."""

  xml_path: str
  frame_skip: int  # physics steps per control step


class TaskFamily(NamedTuple):
  """Tasks, their split, and what defines them.

  reset:    `(task, key) -> state`
  observe:  `(task, state) -> [O]`
  reward:   `(task, state, action, next_state) -> []`
  terminal: `(task, state) -> []` bool, true where the task ends the episode

  Actions lie in [-1, 1]; whoever steps the physics clips them first, and the reward sees the clipped action.
  """

  name: str
  observation_size: int
  action_size: int
  horizon: int
  tasks: Task  # leading axis [num_tasks]
  train_tasks: tuple[int, ...]
  test_tasks: tuple[int, ...]
  dynamics: AnalyticDynamics | MujocoDynamics
  reset: Callable[[Task, Key], State]
  observe: Callable[[Task, State], Array]
  reward: Callable[[Task, State, Array, State], Array]
  terminal: Callable[[Task, State], Array]


def never(task: Task, state: State) -> Array:
  """The `terminal` of a family that only a time limit ends: false."""
  del task, state
  return jnp.array(False)
