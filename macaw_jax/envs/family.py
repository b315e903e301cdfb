"""A task family: many tasks that share states, actions and physics, and differ in a few numbers.

A family is pure functions on one task and one state. The physics is named apart from them, so that one set of
observation and reward functions serves every engine.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.types import Array, Key

Task = Any  # A pytree of arrays: the numbers in which tasks differ.
State = Any  # A pytree of arrays.


class Physics(NamedTuple):
  """State of a MuJoCo model, in its own units (metres, radians, seconds), and what the engine derives from it.

  `derived` holds the fields of `mjData` that `MujocoDynamics.derived` names, as they are in this very state under
  the action that led to it (none at a start). An engine fills it in; a family's `reset` leaves it empty.
  """

  qpos: chex.Array  # [..., nq]
  qvel: chex.Array  # [..., nv]
  derived: Mapping[str, chex.Array] = {}


class AnalyticDynamics(NamedTuple):
  """Physics as one JAX function: `step(task, state, action) -> state`."""

  step: Callable[[Task, State, Array], State]


class MujocoDynamics(NamedTuple):
  """Physics of a MuJoCo model; its states are `Physics`.

  Where tasks differ in their physics, `randomised` names fields of `mjModel`, and `task[name]`, shaped as that field,
  multiplies it. Constants that MuJoCo derives from them on compilation (`mj_setConst`) stay those of the model, but
  for the masses of subtrees.
  """

  xml_path: str
  frame_skip: int  # physics steps per control step
  derived: tuple[str, ...] = ()  # fields of mjData that reward or observation read, as "cfrc_ext"
  randomised: tuple[str, ...] = ()  # fields of mjModel that a task multiplies, as "body_mass"


class GymnasiumDynamics(NamedTuple):
  """Environments of Gymnasium: Python code, which no compiled program can hold.

  They tell observations, rewards and ends themselves, so the functions of their family refuse to be called.
  """

  environments: Any  # `macaw_jax.envs.gymnasium_environments.Environments`


class TaskSplit(NamedTuple):
  """Indices of the tasks to train and to test on."""

  train: tuple[int, ...]
  test: tuple[int, ...]


def as_commanded(task: Task, action: Array) -> Array:
  """The `actuate` of a family whose motors do as they are told: the action."""
  return action


def as_observed(observation: Array, time_to_go: Array) -> Array:
  """The `show` of a family whose agents see no clock: the observation."""
  return observation


def time_to_go(t: Array | int, num_steps: int) -> Array:
  """The fraction of an episode's steps that is left at step t: 1 at its start, 0 after `num_steps`."""
  return jnp.asarray(num_steps - t) / num_steps


class TaskFamily(NamedTuple):
  """Tasks, their split, and what defines them.

  reset:    `(task, key) -> state`
  observe:  `(task, state) -> [O]`, or whatever `show` makes [O] of
  reward:   `(task, state, action, next_state) -> []`
  terminal: `(task, state) -> []` bool, true where the task ends the episode
  actuate:  `(task, action) -> [A]`, what reaches the physics where the clipped action is commanded
  show:     `(observation, time_to_go) -> [O]`, what agents and data see of what `observe` gives where a fraction
            `time_to_go` of the episode's steps is left; O is the size of what is shown
  state_of: `(task, [O]) -> state`, the state that an observation shows, as far as reward, end and physics read a state;
            None where an observation does not determine it

  Actions lie in [-1, 1]; whoever steps the physics clips them first, and the reward sees the clipped action. Only the
  physics sees the actuated one.

  `train_tasks` and `test_tasks` split the tasks at random (in distribution); in `extrapolation` the test tasks lie
  outside the range of the training tasks.

  `name` is that by which `macaw_jax.envs.make` makes it, and `source` the file of a family that is none of the package.

  With `discrete_actions` an action is one of A choices. It is a vector [A] all the same, scores or a one-hot vector in
  [-1, 1], of which the functions take the largest entry, the first of equal ones.
  """

  name: str
  observation_size: int
  action_size: int
  horizon: int
  tasks: Task  # leading axis [num_tasks]
  train_tasks: tuple[int, ...]
  test_tasks: tuple[int, ...]
  dynamics: AnalyticDynamics | MujocoDynamics | GymnasiumDynamics
  reset: Callable[[Task, Key], State]
  observe: Callable[[Task, State], Array]
  reward: Callable[[Task, State, Array, State], Array]
  terminal: Callable[[Task, State], Array]
  actuate: Callable[[Task, Array], Array] = as_commanded
  show: Callable[[Array, Array], Array] = as_observed
  differ_in: Literal["rewards", "physics"] = "rewards"
  extrapolation: TaskSplit | None = None
  source: str = ""
  state_of: Callable[[Task, Array], State] | None = None
  discrete_actions: bool = False

  @property
  def num_tasks(self) -> int:
    """Number of tasks."""
    return len(jax.tree.leaves(self.tasks)[0])

  @property
  def task_entries(self) -> int:
    """The number of numbers in which a task is described: the entries of one task's leaves, together."""
    return sum(int(np.prod(np.shape(leaf)[1:])) for leaf in jax.tree.leaves(self.tasks))


def never(task: Task, state: State) -> Array:
  """The `terminal` of a family that only a time limit ends: false."""
  return jnp.array(False)
