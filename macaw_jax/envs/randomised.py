"""Families of changed bodies: a walker and a hopper whose masses, inertias, damping and friction a task multiplies.

The reward is the same for all tasks; what differs is how the body moves. Both run forward:

  walker_params  observation [17] = qpos[1:] (8), clip(qvel, -10, 10) (9)
                 end              = height outside (0.8, 2.0) m or |pitch| >= 1 rad
  hopper_params  observation [11] = qpos[1:] (5), clip(qvel, -10, 10) (6)
                 end              = height <= 0.7 m, |pitch| >= 0.2 rad or a number beyond 100
  reward         = x velocity + 1 - 0.001 |action|^2,     x velocity = (x' - x) / 0.016 s
  start          = upright + U(-0.005, 0.005), in qpos and qvel
  task           = multipliers of every entry of body_mass, body_inertia and geom_friction, 1.5^U(-3, 3), and of
                   dof_damping, 1.3^U(-3, 3), all independent

A control step is four physics steps of 0.004 s. What MuJoCo derives from masses when it compiles a model
(`mj_setConst`: the scale of contact and limit forces) stays that of the unchanged body, as in the published ones.

Source: Rakelly et al. 2019 (PEARL; the recipe, on the rand_param_envs package), Mitchell et al. 2021 (50 walkers and
their split).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import MujocoDynamics, Physics, Task, TaskFamily
from macaw_jax.envs.import_mujoco import import_mujoco
from macaw_jax.envs.splits import hold_out, hold_out_largest
from macaw_jax.types import Array, Key

ASSETS = Path(__file__).parent / "assets"
WALKER_XML_PATH = str(ASSETS / "walker.xml")
HOPPER_XML_PATH = str(ASSETS / "hopper.xml")
FRAME_SKIP = 4
CONTROL_SECONDS = 0.016  # FRAME_SKIP physics steps of 0.004 s
TASK_SEED = 1337
NUM_TASKS = 50
# Base of the multiplier base^U(-3, 3) of each randomised field of the model.
MULTIPLIER_BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
LOG_LIMIT = 3.0


def observe(task: Task, state: Physics) -> Array:
  """Pose without x, and velocities cut to [-10, 10]."""
  return jnp.concatenate([state.qpos[1:], jnp.clip(state.qvel, -10.0, 10.0)])


def reward(task: Task, state: Physics, action: Array, next_state: Physics) -> Array:
  """Mean velocity along x over the control step, plus the survival bonus, less the action cost."""
  chex.assert_rank(action, 1)
  velocity = (next_state.qpos[0] - state.qpos[0]) / CONTROL_SECONDS
  return velocity + 1.0 - 1e-3 * jnp.sum(action**2)


def walker_fallen(task: Task, state: Physics) -> Array:
  """Whether the torso is not strictly between 0.8 m and 2 m, or tilted by 1 rad or more."""
  height, pitch = state.qpos[1], state.qpos[2]
  return jnp.logical_not((height > 0.8) & (height < 2.0) & (jnp.abs(pitch) < 1.0))  # true for nan too


def hopper_fallen(task: Task, state: Physics) -> Array:
  """Whether the torso is at 0.7 m or below or tilted by 0.2 rad or more, or a coordinate after it is beyond 100."""
  height, pitch = state.qpos[1], state.qpos[2]
  bounded = jnp.all(jnp.abs(jnp.concatenate([state.qpos[2:], state.qvel])) < 100.0)
  return jnp.logical_not((height > 0.7) & (jnp.abs(pitch) < 0.2) & bounded)


def walker_params() -> TaskFamily:
  """50 walkers; tasks 2, 12, 15, 39 and 43 are for testing, as in the published split."""
  return _family("walker_params", WALKER_XML_PATH, walker_fallen, (2, 12, 15, 39, 43))


def hopper_params() -> TaskFamily:
  """50 hoppers, the last ten of them for testing."""
  return _family("hopper_params", HOPPER_XML_PATH, hopper_fallen, range(40, 50))


def sample_multipliers(model: Any, num_tasks: int, seed: int) -> dict[str, np.ndarray]:
  """Multipliers base^U(-3, 3) of each entry of the randomised fields of an `mjModel`, `[num_tasks, ...]` float32."""
  random = np.random.RandomState(seed)
  return {
    name: (base ** random.uniform(-LOG_LIMIT, LOG_LIMIT, (num_tasks, *getattr(model, name).shape))).astype(np.float32)
    for name, base in MULTIPLIER_BASES.items()
  }


def _family(
  name: str, xml_path: str, fallen: Callable[[Task, Physics], Array], test_tasks: Sequence[int]
) -> TaskFamily:
  model = import_mujoco().MjModel.from_xml_path(xml_path)  # tasks have the shapes of its fields
  num_positions, num_velocities = model.nq, model.nv
  upright = np.zeros(num_positions, np.float32)
  upright[1] = 1.25  # metres
  tasks = sample_multipliers(model, NUM_TASKS, TASK_SEED)
  split = hold_out(NUM_TASKS, test_tasks)

  def reset(task: Task, key: Key) -> Physics:
    """A start within 0.005 of the upright pose at rest."""
    noise = jax.random.uniform(key, (num_positions + num_velocities,), minval=-0.005, maxval=0.005)
    return Physics(qpos=upright + noise[:num_positions], qvel=noise[num_positions:])

  return TaskFamily(
    name=name,
    observation_size=num_positions - 1 + num_velocities,
    action_size=model.nu,
    horizon=200,
    tasks=tasks,
    train_tasks=split.train,
    test_tasks=split.test,
    dynamics=MujocoDynamics(xml_path, FRAME_SKIP, randomised=tuple(MULTIPLIER_BASES)),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=fallen,
    differ_in="physics",
    extrapolation=hold_out_largest(tasks["body_mass"] @ model.body_mass, num_test=10),  # the heaviest bodies
  )
