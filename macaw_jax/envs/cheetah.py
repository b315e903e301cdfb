"""Half-cheetah families: run forward or backward, and run at a given speed.

Both share the body, the observation and the start, and never end before the time limit:

  observation [20] = qpos[1:] (8), qvel (9), torso position (x, y, z) (3)
  reward           = run(task, x velocity) - 0.05 |action|^2,     x velocity = (x' - x) / 0.05 s
  start            = qpos ~ U(-0.1, 0.1), qvel ~ 0.1 Normal(0, 1)

The torso position is computed from qpos: x = qpos[0], y = 0, z = 0.7 + qpos[1]. The environments that these
families follow read it from the simulator, where body positions lag qpos by one physics step of 0.01 s: there
the last three entries belong to the state before the last physics step. Here an observation is a function
of (qpos, qvel) alone.

Sources: Finn et al. 2017 (the two tasks); Rakelly et al. 2019 and Mitchell et al. 2021 (this observation, the
horizon, the 40 velocities and their splits).
"""

from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import MujocoDynamics, Physics, Task, TaskFamily, never
from macaw_jax.envs.splits import hold_out, hold_out_largest
from macaw_jax.types import Array, Key

XML_PATH = str(Path(__file__).parent / "assets" / "half_cheetah.xml")
FRAME_SKIP = 5
CONTROL_SECONDS = 0.05  # FRAME_SKIP physics steps of 0.01 s
ACTION_COST = 0.05


def reset(task: Task, key: Key) -> Physics:
  """A start near the upright pose: qpos [9] ~ U(-0.1, 0.1) and qvel [9] ~ 0.1 Normal(0, 1)."""
  position_key, velocity_key = jax.random.split(key)
  return Physics(
    qpos=jax.random.uniform(position_key, (9,), minval=-0.1, maxval=0.1),
    qvel=0.1 * jax.random.normal(velocity_key, (9,)),
  )


def observe(task: Task, state: Physics) -> Array:
  """The observation, [20]: qpos without x, qvel, torso position."""
  chex.assert_shape([state.qpos, state.qvel], (9,))
  x, z = state.qpos[0], 0.7 + state.qpos[1]  # at qpos = 0 the torso is 0.7 m above the floor
  return jnp.concatenate([state.qpos[1:], state.qvel, jnp.stack([x, jnp.zeros_like(x), z])])


def state_of(task: Task, observation: Array) -> Physics:
  """The state that an observation shows: its x is the torso's."""
  chex.assert_shape(observation, (20,))
  return Physics(qpos=jnp.concatenate([observation[17:18], observation[:8]]), qvel=observation[8:17])


def forward_velocity(state: Physics, next_state: Physics) -> Array:
  """Mean velocity along x over one control step, in metres a second."""
  return (next_state.qpos[0] - state.qpos[0]) / CONTROL_SECONDS


def direction_reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Direction times velocity, less the action cost."""
  chex.assert_shape(action, (6,))
  return task["direction"] * forward_velocity(state, next_state) - ACTION_COST * jnp.sum(action**2)


def velocity_reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Minus the distance to the wanted velocity, less the action cost."""
  chex.assert_shape(action, (6,))
  return -jnp.abs(forward_velocity(state, next_state) - task["velocity"]) - ACTION_COST * jnp.sum(action**2)


_family = partial(
  TaskFamily,
  observation_size=20,
  action_size=6,
  horizon=200,
  dynamics=MujocoDynamics(XML_PATH, FRAME_SKIP),
  reset=reset,
  observe=observe,
  terminal=never,
  state_of=state_of,
)


def cheetah_dir() -> TaskFamily:
  """Run forward (task 0, direction +1) or backward (task 1, direction -1); train and test tasks are the same two."""
  tasks = {"direction": np.array([1.0, -1.0], np.float32)}
  return _family(name="cheetah_dir", tasks=tasks, train_tasks=(0, 1), test_tasks=(0, 1), reward=direction_reward)


def cheetah_vel() -> TaskFamily:
  """Run at 0.075 (i + 1) metres a second, i = 0..39; tasks 2, 7, 15, 23 and 26 are for testing.

  Extrapolation: train on the 26 lowest velocities, to 1.95 m/s, and test on the 14 highest, from 2.025 m/s.
  """
  velocities = (0.075 * np.arange(1, 41)).astype(np.float32)
  split = hold_out(40, test_tasks=(2, 7, 15, 23, 26))
  return _family(
    name="cheetah_vel",
    tasks={"velocity": velocities},
    train_tasks=split.train,
    test_tasks=split.test,
    reward=velocity_reward,
    extrapolation=hold_out_largest(velocities, 14),
  )
