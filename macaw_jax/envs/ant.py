"""Ant families: run in a given direction, and walk to a place.

They share the body and the start, qpos ~ upright + U(-0.1, 0.1), qvel ~ 0.1 Normal(0, 1); a control step is 0.05 s.

  ant_dir          observation [27] = qpos[2:] (13), qvel (14)
                   reward           = v . (cos, sin) - 0.5 |action|^2 - contact cost + 1
                   end              = torso height outside [0.2, 1.0]
  ant_dir_forward  as ant_dir, reward = v . (cos, sin) alone, and no end
  ant_goal         observation [113] = qpos (15), qvel (14), contact forces (84), cut to [-1, 1]
                   reward            = -|position - goal|_1 - 0.1 |action|^2 - contact cost
                   end               = none

with v the mean velocity (x, y) over the control step and the contact cost 0.0005 times the sum of squares of the
contact forces and torques on all bodies, each cut to [-1, 1]. They are those of the state after the step.
Where earlier code ran on mujoco-py 2.0 or later, they were zero: see the family's page.

Sources: Mitchell et al. 2021 (ant_dir, 50 directions), Yuan and Lu 2022 (CORRO; ant_dir_forward), Rakelly et al. 2019
(PEARL; ant_goal).
"""

from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import MujocoDynamics, Physics, Task, TaskFamily, never
from macaw_jax.envs.splits import hold_out, hold_out_largest, hold_out_last_quarter
from macaw_jax.types import Array, Key

XML_PATH = str(Path(__file__).parent / "assets" / "ant.xml")
FRAME_SKIP = 5
CONTROL_SECONDS = 0.05  # FRAME_SKIP physics steps of 0.01 s
WITH_CONTACTS = MujocoDynamics(XML_PATH, FRAME_SKIP, derived=("cfrc_ext",))
# The torso 0.75 m above the floor and every joint at zero, where the ankles' limits (30 to 70 degrees) push at once.
UPRIGHT = np.array([0.0, 0.0, 0.75, 1.0] + [0.0] * 11, np.float32)
TASK_SEED = 1337

NUM_DIRECTIONS = 50
NUM_GOALS = 180
NUM_TEST_GOALS = 30


def reset(task: Task, key: Key) -> Physics:
  """A start near the upright pose: qpos [15] within 0.1 of it, its quaternion of unit length; qvel [14] 0.1 Normal."""
  position_key, velocity_key = jax.random.split(key)
  qpos = jnp.asarray(UPRIGHT) + jax.random.uniform(position_key, (15,), minval=-0.1, maxval=0.1)
  quaternion = qpos[3:7] / jnp.sqrt(jnp.sum(qpos[3:7] ** 2))
  return Physics(qpos=qpos.at[3:7].set(quaternion), qvel=0.1 * jax.random.normal(velocity_key, (14,)))


def observe(task: Task, state: Physics) -> Array:
  """Pose without the place, and velocities, [27]."""
  chex.assert_shape([state.qpos, state.qvel], [(15,), (14,)])
  return jnp.concatenate([state.qpos[2:], state.qvel])


def observe_with_contacts(task: Task, state: Physics) -> Array:
  """Place and pose, velocities, and the contact torque and force on each body cut to [-1, 1], [113]."""
  return jnp.concatenate([state.qpos, state.qvel, _contact_forces(state).ravel()])


def state_with_contacts(task: Task, observation: Array) -> Physics:
  """The state that an observation with contact forces shows; the forces as rewards read them, cut to [-1, 1]."""
  chex.assert_shape(observation, (113,))
  return Physics(observation[:15], observation[15:29], {"cfrc_ext": observation[29:].reshape(14, 6)})


def progress(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Velocity along the task's direction, in metres a second."""
  velocity = (next_state.qpos[:2] - state.qpos[:2]) / CONTROL_SECONDS
  angle = task["direction_angle"]
  return jnp.dot(velocity, jnp.stack([jnp.cos(angle), jnp.sin(angle)]))


def direction_reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Velocity along the direction, less the costs of action and contact, plus the survival bonus."""
  chex.assert_shape(action, (8,))
  velocity = progress(task, state, action, next_state)
  return velocity - 0.5 * jnp.sum(action**2) - contact_cost(next_state) + 1.0


def goal_reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Minus the distance to the goal along the axes, less the costs of action and contact."""
  chex.assert_shape(action, (8,))
  distance = jnp.sum(jnp.abs(next_state.qpos[:2] - task["goal"]))
  return -distance - 0.1 * jnp.sum(action**2) - contact_cost(next_state)


def contact_cost(state: Physics) -> Array:
  """0.0005 sum(clip(contact forces and torques, -1, 1)^2), []."""
  return 5e-4 * jnp.sum(_contact_forces(state) ** 2)


def fallen(task: Task, state: Physics) -> Array:
  """Whether the torso's height is outside [0.2, 1.0] metres."""
  height = state.qpos[2]
  return jnp.logical_not((height >= 0.2) & (height <= 1.0))  # true for nan too


def ant_dir() -> TaskFamily:
  """Run at an angle uniform in [0, 2 pi): 50 directions, five of them for testing."""
  return _direction_family(name="ant_dir", dynamics=WITH_CONTACTS, reward=direction_reward, terminal=fallen)


def ant_dir_forward() -> TaskFamily:
  """The directions of `ant_dir`, rewarded by the velocity alone and without an end."""
  dynamics = MujocoDynamics(XML_PATH, FRAME_SKIP)
  return _direction_family(name="ant_dir_forward", dynamics=dynamics, reward=progress, terminal=never)


def ant_goal() -> TaskFamily:
  """Walk to a place uniform in a disc of 3 m: 150 goals to train, 30 to test."""
  random = np.random.RandomState(TASK_SEED)
  angle = random.uniform(0.0, 2.0 * np.pi, NUM_GOALS)
  radius = 3.0 * np.sqrt(random.uniform(0.0, 1.0, NUM_GOALS))
  goals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
  split = hold_out(NUM_GOALS, range(NUM_GOALS - NUM_TEST_GOALS, NUM_GOALS))
  return _ant_family(
    name="ant_goal",
    observation_size=113,
    tasks={"goal": goals},
    train_tasks=split.train,
    test_tasks=split.test,
    dynamics=WITH_CONTACTS,
    observe=observe_with_contacts,
    reward=goal_reward,
    terminal=never,
    extrapolation=hold_out_largest(radius, NUM_TEST_GOALS),
    state_of=state_with_contacts,
  )


_ant_family = partial(TaskFamily, action_size=8, horizon=200, reset=reset)


def _direction_family(**fields: Any) -> TaskFamily:
  angles = np.random.RandomState(TASK_SEED).uniform(0.0, 2.0 * np.pi, NUM_DIRECTIONS).astype(np.float32)
  split = hold_out(NUM_DIRECTIONS, (6, 17, 23, 30, 41))  # the published split
  return _ant_family(
    observation_size=27,
    tasks={"direction_angle": angles},
    train_tasks=split.train,
    test_tasks=split.test,
    observe=observe,
    extrapolation=hold_out_last_quarter(angles),
    **fields,
  )


def _contact_forces(state: Physics) -> Array:
  """Torque and force of contacts on each body, [14, 6], each entry cut to [-1, 1]."""
  return jnp.clip(state.derived["cfrc_ext"], -1.0, 1.0)
