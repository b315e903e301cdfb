"""Half-cheetah whose motors may be wired wrongly: in half of the tasks the two thighs have each other's commands.

The body and the start are those of `macaw_jax/envs/cheetah.py`; the reward is the same for all tasks:

  observation [14] = qpos[2:] (pitch, six joints), qvel[2:] (their velocities)
  reward           = x velocity + 1 - 0.05 |action|^2,     x velocity = (x' - x) / 0.05 s
  end              = cos(pitch) < 0.8

The task is a flag, one where entries 0 (back thigh) and 3 (front thigh) of the clipped action change places before they
reach the motors, whose gears are equal. It is one, zero, one, zero in the four tasks, so that a batch of four has each
wiring twice. All are for training; the first two are for testing too, as there are no other wirings.

Standing still is worth 1 a step.

Source: Yang et al. 2019 (NoRML).
"""

import chex
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.cheetah import ACTION_COST, FRAME_SKIP, XML_PATH, forward_velocity, reset
from macaw_jax.envs.family import MujocoDynamics, Physics, Task, TaskFamily
from macaw_jax.types import Array

BACK_THIGH, FRONT_THIGH = 0, 3


def wire(task: Task, action: Array) -> Array:
  """The commands that reach the motors, [6]: the action, its thighs exchanged where the task's flag is one."""
  chex.assert_shape(action, (6,))
  order = np.arange(6)
  order[[BACK_THIGH, FRONT_THIGH]] = FRONT_THIGH, BACK_THIGH
  return jnp.where(task["swap"] == 1.0, action[order], action)


def observe(task: Task, state: Physics) -> Array:
  """Pitch and joints, then their velocities, [14]."""
  chex.assert_shape([state.qpos, state.qvel], (9,))
  return jnp.concatenate([state.qpos[2:], state.qvel[2:]])


def reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Mean velocity along x over the control step, plus the survival bonus, less the action cost."""
  chex.assert_shape(action, (6,))
  return forward_velocity(state, next_state) + 1.0 - ACTION_COST * jnp.sum(action**2)


def tipped(task: Task, state: Physics) -> Array:
  """Whether the cosine of the torso's pitch is below 0.8: beyond 36.9 degrees."""
  return jnp.logical_not(jnp.cos(state.qpos[2]) >= 0.8)  # true for nan too


def cheetah_swapped() -> TaskFamily:
  """Four tasks `task["swap"]` [], horizon 1000."""
  return TaskFamily(
    name="cheetah_swapped",
    observation_size=14,
    action_size=6,
    horizon=1000,
    tasks={"swap": np.array([1.0, 0.0, 1.0, 0.0], np.float32)},
    train_tasks=(0, 1, 2, 3),
    test_tasks=(0, 1),
    dynamics=MujocoDynamics(XML_PATH, FRAME_SKIP),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=tipped,
    actuate=wire,
    differ_in="physics",
  )
