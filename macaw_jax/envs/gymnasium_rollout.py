"""Whole episodes of environments of Gymnasium: the agent is compiled, and each step is a call of Python."""

from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import Task, TaskFamily, time_to_go
from macaw_jax.envs.gymnasium_environments import Environments
from macaw_jax.envs.rollout import Act, RolloutFn, episode_keys
from macaw_jax.types import Array, Key, TimeStep, Trajectory


def gymnasium_rollout(family: TaskFamily, environments: Environments, act: Act) -> RolloutFn:
  """The rollout of a family that has environments of Gymnasium: see `macaw_jax.envs.rollout.make_rollout`.

  As many episodes run beside each other as there are environments, and then the next. No states are kept. What is
  random in an environment follows from the seed of its reset, which follows from the episode's key.
  """
  horizon = family.horizon

  @jax.jit
  def decide(
    params: Any, adapted: Any, observation: Array, action: Array, reward: Array, t: Array, keys: Key | None
  ) -> tuple[Array, Any]:
    """The actions of step t, [n, A], and what `act` made of adapted."""

    def one(adapted: Any, observation: Array, action: Array, reward: Array, key: Key | None) -> tuple[Array, Any]:
      shown = family.show(observation, time_to_go(t, horizon))
      timestep = TimeStep(shown, action, reward, (t == 0).astype(jnp.float32))
      drawn, adapted = act(params, adapted, timestep, None if key is None else jax.random.fold_in(key, t))
      return jnp.clip(drawn, -1.0, 1.0), adapted

    return jax.vmap(one, (0, 0, 0, 0, None if keys is None else 0))(adapted, observation, action, reward, keys)

  show = jax.jit(jax.vmap(jax.vmap(family.show), (0, None)))

  def side_by_side(
    params: Any, adapted: Any, tasks: Task, seeds: np.ndarray, keys: Key | None, wanted: np.ndarray
  ) -> Trajectory:
    """One episode in each of n environments; those that are not wanted, [n] bool, take no step that counts."""
    first = environments.reset(tasks, seeds)
    count = len(first)
    observation = np.zeros((count, horizon + 1, first.shape[1]), np.float32)
    action = np.zeros((count, horizon + 1, family.action_size), np.float32)  # shifted by one: what was done before
    reward, terminal, mask = np.zeros((3, count, horizon + 1), np.float32)
    observation[:, 0] = first
    running = wanted.copy()
    for t in range(horizon):
      if not running.any():
        break
      chosen, adapted = decide(params, adapted, observation[:, t], action[:, t], reward[:, t], np.int32(t), keys)
      after = t + 1
      action[:, after] = chosen
      step = environments.step(action[:, after], running)
      observation[:, after], reward[:, after], terminal[:, after] = step.observation, step.reward, step.terminated
      mask[:, after] = running
      running &= ~(step.terminated | step.truncated)
    shown = np.asarray(show(observation, time_to_go(jnp.arange(horizon + 1), horizon)))
    runs: Any = mask[:, 1:]

    def while_it_runs(values: np.ndarray) -> Any:
      return np.where(runs.reshape(*runs.shape, *[1] * (values.ndim - 2)) > 0, values, np.float32(0.0))

    return Trajectory(
      observation=while_it_runs(shown[:, :-1]),
      action=while_it_runs(action[:, 1:]),
      next_observation=while_it_runs(shown[:, 1:]),
      mask=runs,
      reward=while_it_runs(reward[:, 1:]),
      terminal=while_it_runs(terminal[:, 1:]),
    )

  def rollout(params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    num_episodes = len(jax.tree.leaves(tasks)[0])
    reset_keys, act_keys = episode_keys(key, num_episodes)
    seeds = np.asarray(jax.vmap(jax.random.bits)(reset_keys)) >> 1  # 31 bits, which any generator takes
    width = min(environments.width, num_episodes)
    parts = []
    for start in range(0, num_episodes, width):
      rows = np.arange(start, start + width)
      wanted, rows = rows < num_episodes, np.minimum(rows, num_episodes - 1)
      own, own_tasks = jax.tree.map(itemgetter(rows), (adapted, tasks))
      keys = None if deterministic else act_keys[rows]
      part = side_by_side(params, own, own_tasks, seeds[rows], keys, wanted)
      parts.append(jax.tree.map(itemgetter(wanted), part))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

  return rollout
