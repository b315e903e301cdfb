"""Humanoid family: run in a given direction.

  observation [376] = qpos[2:] (22), qvel (23), inertia of each body (14 x 10), its velocity (14 x 6), torques of the
                      motors on the joints (23), contact torque and force on each body (14 x 6); the last four are
                      mjData's cinert, cvel, qfrc_actuator and cfrc_ext
  reward            = 0.25 (com' - com) . (cos, sin) / 0.003 s - 0.1 |0.4 action|^2 - contact cost + 5
  contact cost      = min(5e-7 |cfrc_ext|^2, 10), of the state after the step
  end               = root height outside [1, 2] m
  start             = upright + U(-0.01, 0.01), in qpos and qvel

with com the centre of mass of the whole body (x, y). A control step is five physics steps of 0.003 s, and the
published reward divides the displacement over all five by one of them: its first term is 1.25 times the velocity in
metres a second. It is kept, for it sets the scale of published returns.

Source: Rakelly et al. 2019 (PEARL).
"""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import MujocoDynamics, Physics, Task, TaskFamily
from macaw_jax.envs.splits import hold_out, hold_out_last_quarter
from macaw_jax.types import Array, Key

XML_PATH = str(Path(__file__).parent / "assets" / "humanoid.xml")
FRAME_SKIP = 5
PHYSICS_SECONDS = 0.003  # one physics step
DERIVED = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "subtree_com")
# The root 1.4 m above the floor and every joint at zero: two degrees beyond the limit of the knees.
UPRIGHT = np.array([0.0, 0.0, 1.4, 1.0] + [0.0] * 20, np.float32)
ROOT_BODY = 1  # Its subtree is the whole body.
TASK_SEED = 1337
NUM_TASKS = 130
NUM_TRAIN_TASKS = 100


def humanoid_dir() -> TaskFamily:
  """Run at an angle `task["direction_angle"]` [], uniform in [0, 2 pi): 100 directions to train, 30 to test.

  Extrapolation: train on three quarters of the circle, test on the last.
  """
  angles = np.random.RandomState(TASK_SEED).uniform(0.0, 2.0 * np.pi, NUM_TASKS).astype(np.float32)
  split = hold_out(NUM_TASKS, range(NUM_TRAIN_TASKS, NUM_TASKS))
  return TaskFamily(
    name="humanoid_dir",
    observation_size=376,
    action_size=17,
    horizon=200,
    tasks={"direction_angle": angles},
    train_tasks=split.train,
    test_tasks=split.test,
    dynamics=MujocoDynamics(XML_PATH, FRAME_SKIP, DERIVED),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=fallen,
    extrapolation=hold_out_last_quarter(angles),
  )


def reset(task: Task, key: Key) -> Physics:
  """Within 0.01 of the upright pose at rest: qpos [24], its quaternion scaled to unit length, and qvel [23]."""
  noise = jax.random.uniform(key, (47,), minval=-0.01, maxval=0.01)
  qpos = noise[:24] + UPRIGHT
  quaternion = qpos[3:7] / jnp.sqrt(jnp.sum(qpos[3:7] ** 2))
  return Physics(qpos=qpos.at[3:7].set(quaternion), qvel=noise[24:])


def observe(task: Task, state: Physics) -> Array:
  """Pose without the place, velocities, and what the simulator says of bodies, motors and contacts, [376]."""
  chex.assert_shape([state.qpos, state.qvel], [(24,), (23,)])
  derived = [state.derived[name].ravel() for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")]
  return jnp.concatenate([state.qpos[2:], state.qvel, *derived])


def reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Progress along the direction, less the costs of control and contact, plus the survival bonus."""
  chex.assert_shape(action, (17,))
  angle = task["direction_angle"]
  moved = next_state.derived["subtree_com"][ROOT_BODY, :2] - state.derived["subtree_com"][ROOT_BODY, :2]
  progress = jnp.dot(moved, jnp.stack([jnp.cos(angle), jnp.sin(angle)])) / PHYSICS_SECONDS
  control_cost = 0.1 * jnp.sum((0.4 * action) ** 2)  # The published motors take [-0.4, 0.4].
  contact_cost = jnp.minimum(5e-7 * jnp.sum(next_state.derived["cfrc_ext"] ** 2), 10.0)
  return 0.25 * progress - control_cost - contact_cost + 5.0


def fallen(task: Task, state: Physics) -> Array:
  """Whether the root's height is outside [1, 2] metres."""
  height = state.qpos[2]
  return jnp.logical_not((height >= 1.0) & (height <= 2.0))  # true for nan too
