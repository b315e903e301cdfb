"""Environments of Gymnasium as a family: one environment, told its task in one of three ways.

  def pendulums():
    gravities = np.linspace(5.0, 15.0, 20)
    return gymnasium_family("Pendulum-v1", {"g": gravities}, test_tasks=range(15, 20), set_task="attributes")

Agents on recorded data learn from such a family and are evaluated in it, PEARL collects in it, and datasets are
collected from it. It is Python code: on-policy runs, MJX and Brax, which compile what they step, refuse it. The reward
that another task would have paid for a transition is not known, so `differ_in` is "physics", and nothing is relabelled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike

from macaw_jax.console import log
from macaw_jax.envs.family import GymnasiumDynamics, Task, TaskFamily, TaskSplit
from macaw_jax.envs.gymnasium_environments import (
  Environments,
  SeparateEnvironments,
  SetTask,
  VectorEnvironments,
  import_gymnasium,
  read_spaces,
)
from macaw_jax.envs.splits import hold_out
from macaw_jax.errors import ConfigurationError

PROBED_STEPS = 25  # of two tasks, which should differ by then


def gymnasium_family(
  env: str | Callable[[], Any],
  tasks: Mapping[str, ArrayLike],
  *,
  test_tasks: Sequence[int],
  train_tasks: Sequence[int] | None = None,
  set_task: SetTask = "options",
  horizon: int | None = None,
  num_envs: int = 32,
  extrapolation: TaskSplit | None = None,
) -> TaskFamily:
  """The family of an environment of Gymnasium. One environment is made at once, and reset in the first task.

  An episode ends where the environment says `terminated`, which is the task's own end, where it says `truncated`, and
  after `horizon` steps. Observations are flattened to one axis. Actions in [-1, 1] are scaled to the bounds of the
  action space.

  Args:
    env: id for `gymnasium.make`, or a function without arguments that makes an `Env` or a `VectorEnv`.
    tasks: the numbers in which tasks differ, by name; leaves [T, ...].
    test_tasks: indices of the tasks to test on.
    train_tasks: indices of the tasks to train on; all others if not given.
    set_task: how an environment is told its task, see `SetTask`.
    horizon: most steps of an episode; the time limit that the environment was registered with if not given.
    num_envs: most separate environments beside each other; a `VectorEnv` has a number of its own.
    extrapolation: another split, whose test tasks lie outside the range of the training tasks.

  Raises:
    ConfigurationError: gymnasium is not installed, a space or an argument is not of the kind that is wanted.
  """
  gymnasium = import_gymnasium()
  if not (callable(set_task) or set_task in get_args(get_args(SetTask)[0])):
    raise ConfigurationError(f"set_task is {set_task!r}; expected 'options', 'attributes' or a function (env, task)")

  def make() -> Any:
    return gymnasium.make(env) if isinstance(env, str) else env()

  first = make()
  arrays = {name: np.asarray(values) for name, values in tasks.items()}
  environments: Environments
  if isinstance(first, gymnasium.vector.VectorEnv):
    spaces = read_spaces(first.single_observation_space, first.single_action_space)
    environments = VectorEnvironments(first, spaces, set_task)
  elif isinstance(first, gymnasium.Env):
    spaces = read_spaces(first.observation_space, first.action_space)
    environments = SeparateEnvironments(make, first, spaces, set_task, num_envs)
  else:
    raise ConfigurationError(f"env gives {first!r:.80}; expected a gymnasium.Env or a gymnasium.vector.VectorEnv")
  limit = horizon or getattr(first.spec, "max_episode_steps", None)
  if limit is None:
    raise ConfigurationError(f"horizon is None; expected the most steps of an episode, as {first} has no time limit")
  start = environments.reset({name: values[:1] for name, values in arrays.items()}, np.zeros(1, np.uint32))
  if start.shape != (1, spaces.observation_size):
    raise ConfigurationError(
      f"reset gives an observation of {start.shape[1]} numbers; expected {spaces.observation_size}, as the space has"
    )
  num_tasks = len(next(iter(arrays.values())))
  if num_tasks > 1 and _are_alike(environments, arrays, len(spaces.low), limit):
    log(
      f"WARNING: {first}: its first and its last task are the same for {min(limit, PROBED_STEPS)} steps, in "
      f"observations and rewards: set_task={set_task!r} may not reach the environment, which ignores options and "
      "attributes that it does not know; a function sets them on env.unwrapped"
    )
  return TaskFamily(
    name=env if isinstance(env, str) else getattr(env, "__name__", str(env)),
    observation_size=spaces.observation_size,
    action_size=len(spaces.low),
    horizon=limit,
    tasks=arrays,
    train_tasks=tuple(train_tasks) if train_tasks is not None else hold_out(num_tasks, test_tasks).train,
    test_tasks=tuple(test_tasks),
    dynamics=GymnasiumDynamics(environments),
    reset=_refuse,
    observe=_refuse,
    reward=_refuse,
    terminal=_refuse,
    differ_in="physics",
    extrapolation=extrapolation,
  )


def _are_alike(environments: Environments, tasks: Task, action_size: int, limit: int) -> bool:
  """Whether the same seed and the same actions lead to the same numbers in the first and in the last task."""
  actions = np.random.default_rng(0).uniform(-1.0, 1.0, (min(limit, PROBED_STEPS), 1, action_size))
  seen = []
  for index in (0, -1):
    numbers = [environments.reset({name: values[[index]] for name, values in tasks.items()}, np.zeros(1, np.uint32))]
    for action in actions:
      step = environments.step(action, np.ones(1, np.bool_))
      numbers += [step.observation, step.reward]
      if (step.terminated | step.truncated).any():
        break
    seen.append(np.concatenate([np.ravel(part) for part in numbers]))
  return np.array_equal(seen[0], seen[1])


def _refuse(*arguments: Any) -> NoReturn:
  """In place of each function of the family."""
  raise ConfigurationError(
    "an environment of Gymnasium tells its observations, rewards and ends itself; no function gives them from states"
  )
