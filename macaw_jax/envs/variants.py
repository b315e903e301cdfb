"""Variants of families: `<name>+<variant>` is the family `<name>` with one thing changed, whichever family that is.

A variant is a function from family to family. Whatever steps the family (a compiled program, native MuJoCo, MJX, Brax,
Gymnasium) reads what it changed, so that no family needs to know of it.

  time_to_go   one more entry of the observation, its last: (H - t) / H at step t of an episode of at most H steps. A
               return up to a time limit depends on it, and no other entry shows it.
  task_vector  the numbers of the task, at the end of the observation: the agent is told which task it is in.
  task_index   likewise, but which of the family's tasks it is: as many entries as it has tasks, one of which is one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import GymnasiumDynamics, State, Task, TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.types import Array


def with_time_to_go(family: TaskFamily) -> TaskFamily:
  """The family whose observations [O] end with the fraction of the episode's steps that is left, [O + 1]."""

  def show(observation: Array, time_to_go: Array) -> Array:
    shown = family.show(observation, time_to_go)
    return jnp.concatenate([shown, jnp.asarray(time_to_go, shown.dtype)[None]])

  state_of = family.state_of
  return family._replace(
    observation_size=family.observation_size + 1,
    show=show,
    state_of=None if state_of is None else lambda task, shown: state_of(task, shown[:-1]),
  )


Numbers = Callable[[Task], Array]
"""`(task) -> [W]`: what an observation shows of its task."""


def task_vector(family: TaskFamily) -> Numbers:
  """All numbers of a task, one after another, in the order of their names."""
  del family
  return lambda task: jnp.concatenate([jnp.ravel(jnp.asarray(leaf, float)) for leaf in jax.tree.leaves(task)])


def task_index(family: TaskFamily) -> Numbers:
  """One for the family's task, of training or test, that has these numbers or comes nearest to them; else zero."""
  vector, num_tasks = task_vector(family), family.num_tasks
  every = np.concatenate(
    [np.reshape(leaf, (num_tasks, -1)) for leaf in jax.tree.leaves(family.tasks)], axis=1
  )  # [N, W]

  def index(task: Task) -> Array:
    distances = jnp.sum(jnp.square(every - vector(task)), axis=-1)
    return jax.nn.one_hot(jnp.argmin(distances), num_tasks)

  return index


NUMBERS: dict[str, Callable[[TaskFamily], Numbers]] = {"task_vector": task_vector, "task_index": task_index}


def with_numbers(family: TaskFamily, numbers: Numbers) -> TaskFamily:
  """The family whose observations [O] end with numbers of their task, [O + W].

  Raises:
    ConfigurationError: environments of Gymnasium make the observations, and do not tell their task.
  """
  if isinstance(family.dynamics, GymnasiumDynamics):
    raise ConfigurationError(f"family {family.name!r}: observations of Gymnasium cannot show the task")
  size = jax.eval_shape(lambda: numbers(jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], family.tasks))).shape[0]

  def observe(task: Task, state: State) -> Array:
    observation = family.observe(task, state)
    return jnp.concatenate([observation, jnp.asarray(numbers(task), observation.dtype)])

  def show(observation: Array, time_to_go: Array) -> Array:
    return jnp.concatenate([family.show(observation[:-size], time_to_go), observation[-size:]])

  state_of = family.state_of
  return family._replace(
    observation_size=family.observation_size + size,
    observe=observe,
    show=show,
    state_of=None if state_of is None else lambda task, shown: state_of(task, shown[:-size]),
  )


VARIANTS: dict[str, Callable[[TaskFamily], TaskFamily]] = {
  "time_to_go": with_time_to_go,
  "task_vector": lambda family: with_numbers(family, task_vector(family)),
  "task_index": lambda family: with_numbers(family, task_index(family)),
}
