"""Families as environments of Brax, so that its wrappers and agents run on them unchanged.

  env = as_brax_env(envs.make("cheetah_vel"), tasks=3)
  ppo.train(env, episode_length=env.episode_length, ...)

Source of the interface: Freeman et al. 2021 (Brax).
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.base import Env, State

from macaw_jax.envs.engines import with_compiled_physics
from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Task, TaskFamily, as_observed, time_to_go
from macaw_jax.envs.family import State as FamilyState
from macaw_jax.types import Array, Key


def as_brax_env(family: TaskFamily, tasks: int | Sequence[int] | None = None) -> "FamilyEnv":
  """A family, or one task of it, as a Brax environment; MuJoCo models run on MJX.

  Args:
    family: whose tasks they are.
    tasks: index of a task; or indices, of which every reset draws one uniformly. The default is the training tasks.

  Raises:
    ValueError: `tasks` is empty, or names a task that the family does not have.
    ConfigurationError: the family has environments of Gymnasium.
  """
  if tasks is None:
    tasks = family.train_tasks
  indices = np.atleast_1d(np.asarray(tasks, np.int32))
  num_tasks = family.num_tasks
  if not len(indices) or np.min(indices) < 0 or np.max(indices) >= num_tasks:
    raise ValueError(f"{family.name}: tasks: expected indices from 0 to {num_tasks - 1}, got {tasks!r}.")
  backend = "mjx" if isinstance(family.dynamics, MujocoDynamics) else "analytic"
  compiled = with_compiled_physics(family, "mjx")
  return FamilyEnv(compiled if family.show is as_observed else _counting_steps(compiled), indices, backend)


class _Counted(NamedTuple):
  """A state that knows its step."""

  state: FamilyState
  step: chex.Array  # [...]  int32


def _counting_steps(family: TaskFamily) -> TaskFamily:
  """The family with the step in its states, for a loop that does not tell `show` of it."""
  dynamics = family.dynamics
  assert isinstance(dynamics, AnalyticDynamics)

  def step(task: Task, counted: _Counted, action: Array) -> _Counted:
    return _Counted(dynamics.step(task, counted.state, action), counted.step + 1)

  def observe(task: Task, counted: _Counted) -> Array:
    return family.show(family.observe(task, counted.state), time_to_go(counted.step, family.horizon))

  def reward(task: Task, before: _Counted, action: Array, after: _Counted) -> Array:
    return family.reward(task, before.state, action, after.state)

  return family._replace(
    reset=lambda task, key: _Counted(family.reset(task, key), jnp.zeros((), jnp.int32)),
    dynamics=AnalyticDynamics(step),
    observe=observe,
    reward=reward,
    terminal=lambda task, counted: family.terminal(task, counted.state),
    show=as_observed,
  )


class FamilyEnv(Env):
  """A family's functions of one episode, held together as Brax wants them.

  In a `State`, `pipeline_state` is the family's state (with the step beside it in a variant whose observations show
  the time), `done` its `terminal` as 0.0 or 1.0, `info["task_index"]` the
  position of the task in the family and `info["task"]` its numbers. The time limit is left to Brax's `EpisodeWrapper`,
  as `episode_length`. Its `AutoResetWrapper` returns to the start of the last true reset, and so to that task.
  """

  def __init__(self, family: TaskFamily, task_indices: np.ndarray, backend: str):
    assert isinstance(family.dynamics, AnalyticDynamics)
    self._family = family._replace(tasks=jax.tree.map(jnp.asarray, family.tasks))
    self._dynamics = family.dynamics
    self._task_indices = jnp.asarray(task_indices)
    self._backend = backend

  def reset(self, rng: Key) -> State:
    """The start of an episode of a task drawn for it."""
    task_key, start_key = jax.random.split(rng)
    task_index = jax.random.choice(task_key, self._task_indices)
    task = jax.tree.map(lambda x: x[task_index], self._family.tasks)
    start = self._family.reset(task, start_key)
    zero = jnp.zeros(())
    info = {"task": task, "task_index": task_index}
    return State(start, self._family.observe(task, start), reward=zero, done=zero, info=info)

  def step(self, state: State, action: Array) -> State:
    """One control step, the action cut to [-1, 1]."""
    task = state.info["task"]
    action = jnp.clip(action, -1.0, 1.0)
    after = self._dynamics.step(task, state.pipeline_state, self._family.actuate(task, action))
    return state.replace(
      pipeline_state=after,
      obs=self._family.observe(task, after),
      reward=self._family.reward(task, state.pipeline_state, action, after),
      done=jnp.asarray(self._family.terminal(task, after), jnp.float32),
    )

  @property
  def observation_size(self) -> int:
    """Numbers of an observation."""
    return self._family.observation_size

  @property
  def action_size(self) -> int:
    """Numbers of an action."""
    return self._family.action_size

  @property
  def episode_length(self) -> int:
    """Control steps of an episode that nothing ends sooner."""
    return self._family.horizon

  @property
  def backend(self) -> str:
    """The engine of the physics: "mjx", or "analytic" for a family that is one JAX function."""
    return self._backend
