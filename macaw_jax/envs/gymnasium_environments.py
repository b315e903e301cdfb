"""Environments of Gymnasium side by side: each is given a task, reset by a seed, and stepped until its episode ends.

`Environments` are several of them behind one interface, whether they are separate environments or one `VectorEnv`.
Outside, observations are vectors of float32 and actions lie in [-1, 1]; inside they are what the spaces say.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from macaw_jax.envs.family import Task
from macaw_jax.errors import ConfigurationError

SetTask = Literal["options", "attributes"] | Callable[[Any, Task], None]
"""How an environment is told its task, before it is reset: the numbers of the task, by name, are

  "options"      the options of `reset`
  "attributes"   attributes of the environment
  a function     whatever `(env, task)` makes of them

A `VectorEnv` gets the tasks of all its environments, leaves `[num_envs, ...]`; one that holds separate environments
(`SyncVectorEnv`, `AsyncVectorEnv`) hands each its own, but to a function.
"""


class Step(NamedTuple):
  """The answers of n environments to a step; the rows of those that do not run have no meaning."""

  observation: np.ndarray  # [n, O]  float32; where an episode ended, its last one
  reward: np.ndarray  # [n]
  terminated: np.ndarray  # [n]  the task ended the episode
  truncated: np.ndarray  # [n]  a limit ended it


class Environments(Protocol):
  """Up to `width` environments side by side."""

  width: int

  def reset(self, tasks: Task, seeds: np.ndarray) -> np.ndarray:
    """Begins n episodes, n at most `width`: the first observations, [n, O].

    Args:
      tasks: of the episodes, leaves `[n, ...]`.
      seeds: [n] integers; whatever is random in an episode follows from its own.
    """

  def step(self, actions: np.ndarray, running: np.ndarray) -> Step:
    """Steps those of the n environments that run, [n] bool; actions [n, A] in [-1, 1]."""


class Spaces(NamedTuple):
  """The spaces of one environment, as vectors."""

  observation_size: int
  low: np.ndarray  # [A]  what an action of -1 stands for
  high: np.ndarray  # [A]  what an action of 1 stands for
  action_shape: tuple[int, ...]
  action_dtype: np.dtype

  def actions(self, actions: np.ndarray) -> np.ndarray:
    """Actions [n, A] in [-1, 1] as the environment takes them, [n, ...]."""
    share = (np.clip(np.asarray(actions, np.float64), -1.0, 1.0) + 1.0) / 2.0
    scaled = np.clip(self.low + share * (self.high - self.low), self.low, self.high)
    return scaled.astype(self.action_dtype).reshape(-1, *self.action_shape)


def read_spaces(observation_space: Any, action_space: Any) -> Spaces:
  """The spaces of an environment.

  Raises:
    ConfigurationError: observations are no numbers of one kind, or actions no numbers within finite bounds.
  """
  box = import_gymnasium().spaces.Box
  if not isinstance(observation_space, box):
    raise ConfigurationError(
      f"its observation space is {observation_space!s:.80}; expected a Box, as gymnasium.wrappers.FlattenObservation "
      "makes of other spaces"
    )
  if not isinstance(action_space, box) or not (np.isfinite(action_space.low) & np.isfinite(action_space.high)).all():
    raise ConfigurationError(f"its action space is {action_space!s:.80}; expected a Box with finite bounds")
  low, high = (np.asarray(bound, np.float64).ravel() for bound in (action_space.low, action_space.high))
  return Spaces(int(np.prod(observation_space.shape)), low, high, action_space.shape, action_space.dtype)


def import_gymnasium() -> ModuleType:
  """The optional package gymnasium. Raises `ConfigurationError`, which says how to install it."""
  try:
    import gymnasium
  except ImportError as error:
    raise ConfigurationError(
      'environments of Gymnasium need the package gymnasium: pip install "macaw_jax[gymnasium]"'
    ) from error
  return gymnasium


class SeparateEnvironments:
  """Environments that a function makes when they are first needed, each stepped by itself."""

  def __init__(self, make: Callable[[], Any], first: Any, spaces: Spaces, set_task: SetTask, width: int):
    self.width = width
    self._make, self._envs, self._spaces, self._set_task = make, [first], spaces, set_task
    self._last = np.zeros((0, spaces.observation_size), np.float32)

  def reset(self, tasks: Task, seeds: np.ndarray) -> np.ndarray:
    """See `Environments`."""
    while len(self._envs) < len(seeds):
      self._envs.append(self._make())
    observations = [self._reset(index, task_at(tasks, index), int(seed)) for index, seed in enumerate(seeds)]
    self._last = np.stack([_vector(observation) for observation in observations])
    return self._last.copy()

  def _reset(self, index: int, task: Task, seed: int) -> Any:
    env = self._envs[index]
    if self._set_task == "options":
      return env.reset(seed=seed, options=task)[0]
    if callable(self._set_task):
      self._set_task(env, task)
    else:
      for name, value in task.items():
        if not env.has_wrapper_attr(name):
          raise _no_attribute(env, name)
        env.set_wrapper_attr(name, value)
    return env.reset(seed=seed)[0]

  def step(self, actions: np.ndarray, running: np.ndarray) -> Step:
    """See `Environments`."""
    count, scaled = len(actions), self._spaces.actions(actions)
    reward, terminated, truncated = np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
    for index in np.flatnonzero(running):
      observation, reward[index], terminated[index], truncated[index], _ = self._envs[index].step(scaled[index])
      self._last[index] = _vector(observation)
    return Step(self._last.copy(), reward, terminated, truncated)


class VectorEnvironments:
  """The environments of one `VectorEnv`, in whichever autoreset mode it is.

  They are always all stepped. Where fewer episodes are wanted than there are environments, the others repeat the last;
  an episode that has ended goes on as the mode says, and nobody looks at it.
  """

  def __init__(self, env: Any, spaces: Spaces, set_task: SetTask):
    vector = import_gymnasium().vector
    self.width = int(env.num_envs)
    self._env, self._spaces, self._set_task = env, spaces, set_task
    self._holds_separate = isinstance(env.unwrapped, vector.SyncVectorEnv | vector.AsyncVectorEnv)
    modes = {str(mode.value): mode for mode in vector.AutoresetMode}
    mode = env.metadata.get("autoreset_mode")
    if mode not in (*modes, *modes.values()):
      raise ConfigurationError(
        f"metadata['autoreset_mode'] of its VectorEnv is {mode!r}; expected one of gymnasium.vector.AutoresetMode"
      )
    mode = modes.get(mode, mode)
    self._same_step = mode == vector.AutoresetMode.SAME_STEP
    self._resets_itself = mode != vector.AutoresetMode.DISABLED
    self._options: dict[str, Any] = {}
    self._ended = np.zeros(self.width, bool)

  def reset(self, tasks: Task, seeds: np.ndarray) -> np.ndarray:
    """See `Environments`. A vector environment without separate ones takes one seed, that of the first episode."""
    rows = np.minimum(np.arange(self.width), len(seeds) - 1)
    tasks = {name: np.asarray(values)[rows] for name, values in tasks.items()}
    numbers = [int(seeds[row]) for row in rows]
    self._ended[:] = False
    if callable(self._set_task):
      self._set_task(self._env, tasks)
    elif self._set_task == "attributes":
      for name, values in tasks.items():
        self._set_attribute(name, [_plain(value) for value in values])
    self._options = tasks if self._set_task == "options" else {}
    if self._holds_separate and self._options:
      return self._reset_one_by_one(tasks, numbers)[: len(seeds)]
    observation, _ = self._env.reset(seed=numbers if self._holds_separate else numbers[0], options=dict(self._options))
    return _vectors(observation)[: len(seeds)]

  def _reset_one_by_one(self, tasks: Task, seeds: list[int]) -> np.ndarray:
    """Gives each environment options of its own, where a reset hands the same to all that it resets."""
    self._options = task_at(tasks, 0)
    observation, _ = self._env.reset(seed=seeds, options=dict(self._options))
    for index in range(1, self.width):
      mask = np.arange(self.width) == index
      observation, _ = self._env.reset(seed=seeds, options={**task_at(tasks, index), "reset_mask": mask})
    return _vectors(observation)

  def _set_attribute(self, name: str, values: list[Any]) -> None:
    try:
      self._env.get_attr(name)
    except AttributeError as error:
      raise _no_attribute(self._env, name) from error
    self._env.set_attr(name, values)

  def step(self, actions: np.ndarray, running: np.ndarray) -> Step:
    """See `Environments`."""
    count = len(actions)
    if not self._resets_itself and self._ended.any():
      self._env.reset(options={**self._options, "reset_mask": self._ended.copy()})
    everyone = np.zeros((self.width, actions.shape[1]))
    everyone[:count] = actions
    observation, reward, terminated, truncated, infos = self._env.step(self._spaces.actions(everyone))
    observation, self._ended = _vectors(observation), np.asarray(terminated) | np.asarray(truncated)
    if self._same_step:  # What it returns is the start of the next episode.
      for index in np.flatnonzero(self._ended):
        observation[index] = _vector(infos["final_obs"][index])
    return Step(*(np.array(values)[:count] for values in (observation, reward, terminated, truncated)))


def task_at(tasks: Task, index: int) -> Task:
  """The task of one environment: numbers as Python has them, and arrays."""
  return {name: _plain(np.asarray(values)[index]) for name, values in tasks.items()}


def _plain(value: np.ndarray) -> Any:
  return value.item() if np.ndim(value) == 0 else np.array(value)


def _vector(observation: Any) -> np.ndarray:
  return np.asarray(observation, np.float32).ravel()


def _vectors(observations: Any) -> np.ndarray:
  """A copy: an environment may write its next observations into the same memory."""
  return np.array(observations, np.float32).reshape(len(observations), -1)


def _no_attribute(env: Any, name: str) -> ConfigurationError:
  return ConfigurationError(f"tasks[{name!r}]: {env} has no attribute of that name to set")
