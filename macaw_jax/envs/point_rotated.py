"""Point agent whose actions are turned by an angle that the observation does not show.

Two families with the same motion, start and tasks; the reward is the same for all tasks:

  p' = clip(p + R(phi) a, -2, 2),     R(phi) = [[cos phi, -sin phi], [sin phi, cos phi]]
  observation [2] = p / 2,     start = (0, 0),     goal g = (1, 0)

                        reward after the step    end               steps
  point_rotated         -|p' - g|                none              10
  point_rotated_sparse  -1                       |p' - g| < 0.1    100

The 5100 tasks are angles phi in [-pi, pi]. The first 5000 are for training and lie evenly from end to end; the last 100
are for testing and lie in the middles of 100 equal parts of the range, on none of the training angles.

Source: Yang et al. 2019 (NoRML), with their angles for training.
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, State, Task, TaskFamily, never
from macaw_jax.envs.point_robot import reset_at_origin
from macaw_jax.envs.splits import evenly_spaced
from macaw_jax.types import Array

NUM_TRAIN_TASKS = 5000
NUM_TEST_TASKS = 100
BORDER = 2.0  # largest absolute coordinate
GOAL = (1.0, 0.0)
REACH = 0.1  # distance within which the sparse family's goal is reached


def point_rotated() -> TaskFamily:
  """The shaped family: 5100 angles `task["angle"]` [], horizon 10."""
  return _family("point_rotated", 10, reward, never)


def point_rotated_sparse() -> TaskFamily:
  """The sparse family: 5100 angles `task["angle"]` [], horizon 100."""
  return _family("point_rotated_sparse", 100, sparse_reward, arrived)


def step(task: Task, state: Array, action: Array) -> Array:
  """The position [2] after an action [2]: moved by the turned action, held within [-2, 2]^2."""
  chex.assert_shape([state, action], (2,))
  cosine, sine = jnp.cos(task["angle"]), jnp.sin(task["angle"])
  move = jnp.stack([cosine * action[0] - sine * action[1], sine * action[0] + cosine * action[1]])
  return jnp.clip(state + move, -BORDER, BORDER)


def observe(task: Task, state: Array) -> Array:
  """Half the position, [2]: within [-1, 1]."""
  return state / BORDER


def state_of(task: Task, observation: Array) -> Array:
  """The position [2] that an observation shows."""
  return BORDER * observation


def reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """Minus the Euclidean distance from the next position to the goal."""
  return -jnp.linalg.norm(next_state - jnp.array(GOAL))


def sparse_reward(task: Task, state: Array, action: Array, next_state: Array) -> Array:
  """-1 for every step, that which arrives included."""
  return jnp.array(-1.0)


def arrived(task: Task, state: Array) -> Array:
  """Whether the goal is nearer than 0.1."""
  return jnp.linalg.norm(state - jnp.array(GOAL)) < REACH


def _family(
  name: str,
  horizon: int,
  reward: Callable[[Task, State, Array, State], Array],
  terminal: Callable[[Task, State], Array],
) -> TaskFamily:
  angles, split = evenly_spaced(np.pi, NUM_TRAIN_TASKS, NUM_TEST_TASKS)
  return TaskFamily(
    name=name,
    observation_size=2,
    action_size=2,
    horizon=horizon,
    tasks={"angle": angles},
    train_tasks=split.train,
    test_tasks=split.test,
    dynamics=AnalyticDynamics(step),
    reset=reset_at_origin,
    observe=observe,
    reward=reward,
    terminal=terminal,
    differ_in="physics",
    state_of=state_of,
  )
