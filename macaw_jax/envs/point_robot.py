"""Point robot: walk to a goal that the observation does not show.

The point moves by 0.1 times the action in each of 20 steps; the reward is minus the distance to the goal after
the step. Observation: the position (x, y). Start: uniform in the square [-1, 1]^2. No state ends the episode.

Source: Rakelly et al. 2019 (PEARL), the dense variant: 100 goals uniform in [-1, 1]^2, the first 80 for training.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily, never
from macaw_jax.types import Array, Key

NUM_TASKS = 100
NUM_TRAIN_TASKS = 80
GOAL_SEED = 1337  # The seed of the published task set.
STEP_LENGTH = 0.1  # distance moved along an axis by an action of one


def point_robot() -> TaskFamily:
  """The dense family: 100 goals `task["goal"]` [2], horizon 20."""
  goals = np.random.RandomState(GOAL_SEED).uniform(-1.0, 1.0, (NUM_TASKS, 2)).astype(np.float32)
  return TaskFamily(
    name="point_robot",
    observation_size=2,
    action_size=2,
    horizon=20,
    tasks={"goal": goals},
    train_tasks=tuple(range(NUM_TRAIN_TASKS)),
    test_tasks=tuple(range(NUM_TRAIN_TASKS, NUM_TASKS)),
    dynamics=AnalyticDynamics(step),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=never,
  )


def reset(task: Task, key: Key) -> Array:
  """A position [2] uniform in [-1, 1]^2."""
  del task
  return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


def step(task: Task, state: Array, action: Array) -> Array:
  """The position [2] after an action [2]: s' = s + 0.1 a."""
  del task
  chex.assert_shape([state, action], (2,))
  return state + STEP_LENGTH * action


def observe(task: Task, state: Array) -> Array:
  """The position itself, [2]."""
  del task
  return state


def reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """Minus the Euclidean distance from the next position to the goal."""
  del state, action
  return -jnp.sqrt(jnp.sum((next_state - task["goal"]) ** 2))
