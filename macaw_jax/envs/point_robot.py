"""Point robot: walk to a goal that the observation does not show.

Four families. In all of them the point moves by 0.1 times the action, the observation is the position (x, y), and
no state ends the episode.

                      start             goal g                          reward after the step         steps
  point_robot         U([-1, 1]^2)      the task's, from U([-1, 1]^2)   -d,  d = |s' - g|             20
  point_robot_origin  (0, 0)            those of point_robot            -d                            20
  point_robot_sparse  (0, 0)            the task's, on a half circle    1 - d if d <= 0.2, else 0     20
  point_robot_wind    (0, 0)            (1, 0)                          -d                            25

In `point_robot_wind` every step adds the task's wind, from U([-0.05, 0.05]^2), to the position.

Each family has 100 tasks; the first 80 are for training. The goals on the half circle are evenly spaced and shuffled,
as PEARL has them, so that the split is one in distribution; in the order of their angles, as FOCAL has them, the same
split would be the extrapolation split here.

Extrapolation, on the last fifth of the tasks by a number: the goals farthest from the origin; the goals of largest
angle; the strongest winds.

Sources: Rakelly et al. 2019 (PEARL), dense and sparse; Li et al. 2021 (FOCAL), wind.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily, never
from macaw_jax.envs.splits import hold_out_largest
from macaw_jax.types import Array, Key

NUM_TASKS = 100
NUM_TRAIN_TASKS = 80
TASK_SEED = 1337  # The seed of the published goals.
MAX_WIND = 0.05  # distance blown along an axis in one step


def point_robot() -> TaskFamily:
  """The dense family: 100 goals `task["goal"]` [2], horizon 20."""
  goals = np.random.RandomState(TASK_SEED).uniform(-1.0, 1.0, (NUM_TASKS, 2)).astype(np.float32)
  distance = np.linalg.norm(goals, axis=1)
  return _family("point_robot", 20, {"goal": goals}, step, reset_anywhere, reward, extreme=distance)


def point_robot_origin() -> TaskFamily:
  """The dense family with the same goals, started at the origin: only where it walks tells one goal from another."""
  return point_robot()._replace(name="point_robot_origin", reset=reset_at_origin)


def point_robot_sparse() -> TaskFamily:
  """The sparse family: 100 goals `task["goal"]` [2] on the unit half circle y >= 0, horizon 20."""
  angles = np.linspace(0.0, np.pi, NUM_TASKS)
  np.random.RandomState(TASK_SEED).shuffle(angles)
  goals = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
  return _family("point_robot_sparse", 20, {"goal": goals}, step, reset_at_origin, sparse_reward, extreme=angles)


def point_robot_wind() -> TaskFamily:
  """The windy family: 100 winds `task["wind"]` [2], horizon 25."""
  winds = np.random.RandomState(TASK_SEED).uniform(-MAX_WIND, MAX_WIND, (NUM_TASKS, 2)).astype(np.float32)
  strength = np.linalg.norm(winds, axis=1)
  family = _family("point_robot_wind", 25, {"wind": winds}, windy_step, reset_at_origin, wind_reward, extreme=strength)
  return family._replace(differ_in="physics")


def reset_anywhere(task: Task, key: Key) -> Array:
  """A position [2] uniform in [-1, 1]^2."""
  return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


def reset_at_origin(task: Task, key: Key) -> Array:
  """The position (0, 0)."""
  return jnp.zeros(2)


def step(task: Task, state: Array, action: Array) -> Array:
  """The position [2] after an action [2]: s' = s + 0.1 a."""
  chex.assert_shape([state, action], (2,))
  return state + 0.1 * action


def windy_step(task: Task, state: Array, action: Array) -> Array:
  """The position [2] after an action [2] in the task's wind w: s' = s + 0.1 a + w."""
  return step(task, state, action) + task["wind"]


def observe(task: Task, state: Array) -> Array:
  """The position itself, [2]."""
  return state


def state_of(task: Task, observation: Array) -> Array:
  """The position [2] that an observation shows: the observation."""
  return observation


def reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """Minus the Euclidean distance from the next position to the goal."""
  return -jnp.linalg.norm(next_state - task["goal"])


def sparse_reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """One minus the distance from the next position to the goal where that is at most 0.2, else zero."""
  distance = jnp.linalg.norm(next_state - task["goal"])
  return jnp.where(distance <= 0.2, 1.0 - distance, 0.0)


def wind_reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """Minus the Euclidean distance from the next position to (1, 0)."""
  return -jnp.linalg.norm(next_state - jnp.array([1.0, 0.0]))


def _family(
  name: str,
  horizon: int,
  tasks: Task,
  step: Callable[[Task, Array, Array], Array],
  reset: Callable[[Task, Key], Array],
  reward: Callable[[Task, Array, Array, Array], Array],
  extreme: np.ndarray,
) -> TaskFamily:
  return TaskFamily(
    name=name,
    observation_size=2,
    action_size=2,
    horizon=horizon,
    tasks=tasks,
    train_tasks=tuple(range(NUM_TRAIN_TASKS)),
    test_tasks=tuple(range(NUM_TRAIN_TASKS, NUM_TASKS)),
    dynamics=AnalyticDynamics(step),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=never,
    extrapolation=hold_out_largest(extreme, NUM_TASKS - NUM_TRAIN_TASKS),
    state_of=state_of,
  )
