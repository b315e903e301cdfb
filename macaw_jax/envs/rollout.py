"""Whole episodes: the step that all of them are made of, one episode as a scan, and many tasks in lockstep.

`make_rollout` runs one episode of each of many tasks, for evaluation and collection. `make_sampled_rollout`
(`macaw_jax.envs.sampled_rollout`) runs several of one task inside a compiled update.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.engines import Engine, with_compiled_physics
from macaw_jax.envs.family import (
  AnalyticDynamics,
  GymnasiumDynamics,
  MujocoDynamics,
  Physics,
  State,
  Task,
  TaskFamily,
  time_to_go,
)
from macaw_jax.envs.import_mujoco import import_mujoco
from macaw_jax.types import Array, Key, TimeStep, Trajectory

Act = Callable[[Any, Any, TimeStep, Key | None], tuple[Array, Any]]
"""`Algorithm.act`: `(params, adapted, timestep, key) -> (action, adapted)`; adapted keeps its structure."""


class RolloutFn(Protocol):
  """Runs one episode for each of N tasks."""

  def __call__(self, params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    """N episodes `[N, H, ...]`, actions cut to [-1, 1].

    Args:
      params: what `act` takes, shared by the episodes.
      adapted: what adaptation changed, leaves `[N, ...]`; before adaptation, draws of `Algorithm.prior`.
      tasks: the family's task of each episode, leaves `[N, ...]`.
      key: decides the starts and, for a stochastic policy, the actions. Episode i depends on the key and on i alone.
      deterministic: whether the policy acts by its mode (`act` receives no key).
    """


def make_rollout(family: TaskFamily, act: Act, engine: Engine = "native") -> RolloutFn:
  """The rollout of a family under an acting function; compiled once for each number of episodes.

  Reward, end and observation of native episodes are computed in float64: the velocity in a reward is a small
  difference of positions, and 100 m from the start one float32 rounding is already 1.5e-4 m/s. The agent
  itself sees float32.

  Args:
    family: where episodes are run.
    act: of an algorithm.
    engine: that steps MuJoCo models: "native" on the host, "mjx" inside the compiled scan, on an accelerator if there
      is one. An analytic family is compiled whatever it is; environments of Gymnasium are stepped on the host, and
      "mjx" is refused.

  Raises:
    ValueError: there is no such engine.
    ConfigurationError: the family cannot be stepped by it, or MuJoCo cannot be imported.
  """
  if isinstance(family.dynamics, MujocoDynamics) and engine == "native":
    return _native_rollout(family, family.dynamics, act)
  if isinstance(family.dynamics, GymnasiumDynamics) and engine == "native":
    # Only here: it imports gymnasium.
    from macaw_jax.envs.gymnasium_rollout import gymnasium_rollout

    return gymnasium_rollout(family, family.dynamics.environments, act)
  return _compiled_rollout(with_compiled_physics(family, engine), act)


def episode_return(trajectory: Trajectory) -> Array:
  """Undiscounted return of each episode, `[..., H] -> [...]`: the sum of its rewards, which are zero after its end."""
  assert trajectory.reward is not None
  return jnp.sum(trajectory.reward, axis=-1)


def episode_keys(key: Key, num_episodes: int) -> tuple[Key, Key]:
  """One key for the start and one for the actions of each episode, [N] each; those of episode i follow from i alone."""
  keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_episodes))
  pairs = jax.vmap(jax.random.split)(keys)
  return pairs[:, 0], pairs[:, 1]


class _Decision(NamedTuple):
  """A step of an episode, as the next one needs it."""

  adapted: Any  # what `act` returned
  state: State  # the state the action was chosen in
  drawn: Array  # [A]  as the policy gave it
  action: Array  # [A]  cut to [-1, 1]


def _first(family: TaskFamily, adapted: Any, state: State, *batch: int) -> _Decision:
  """Stands in for a decision before the first."""
  nothing = jnp.zeros((*batch, family.action_size))
  return _Decision(adapted, state, nothing, nothing)


def _decide(
  family: TaskFamily,
  act: Act,
  num_steps: int,
  params: Any,
  last: _Decision,
  task: Task,
  state: State,
  t: Array,
  key: Key | None,
) -> _Decision:
  """Chooses the action of step t of `num_steps` in `state`, one episode; `key` is that of all its actions."""
  first = t == 0
  reward = jnp.where(first, 0.0, family.reward(task, last.state, last.action, state))
  observation = family.show(family.observe(task, state), time_to_go(t, num_steps))
  timestep = TimeStep(observation, last.action, reward, first.astype(jnp.float32))
  drawn, adapted = act(params, last.adapted, timestep, None if key is None else jax.random.fold_in(key, t))
  return _Decision(adapted, state, drawn, jnp.clip(drawn, -1.0, 1.0))


def _record(family: TaskFamily, task: Task, state: State, action: Array) -> Trajectory:
  """The trajectory of one episode from its states [H + 1, ...] and actions [H, A], as of the actions' type.

  It ends after the first state in which the task ends it. What the states do from there is left to the caller.
  """
  before, after = jax.tree.map(lambda x: x[:-1], state), jax.tree.map(lambda x: x[1:], state)
  ended = jax.vmap(partial(family.terminal, task))(after)  # [H]
  runs = jnp.cumsum(ended) - ended == 0
  num_steps = len(action)
  left = time_to_go(jnp.arange(num_steps + 1), num_steps)
  observation = jax.vmap(family.show)(jax.vmap(partial(family.observe, task))(state), left)  # [H + 1, O]
  reward = jax.vmap(partial(family.reward, task))(before, jnp.clip(action, -1.0, 1.0), after)

  def while_it_runs(values: Array) -> Array:
    return jnp.where(runs.reshape(-1, *[1] * (values.ndim - 1)), values, 0).astype(action.dtype)

  return Trajectory(
    observation=while_it_runs(observation[:-1]),
    action=while_it_runs(action),
    next_observation=while_it_runs(observation[1:]),
    mask=runs.astype(action.dtype),
    reward=while_it_runs(reward),
    terminal=while_it_runs(ended),
    state=state,
  )


def make_episode(family: TaskFamily, act: Act, horizon: int | None = None) -> Callable[..., Trajectory]:
  """One episode of a family with compiled physics, as one scan over time; of the family's horizon if none is given.

  Returns:
    `(params, adapted, task, key of the start, key of the actions) -> Trajectory [H, ...]`, actions as drawn.
  """
  assert isinstance(family.dynamics, AnalyticDynamics)
  dynamics, num_steps = family.dynamics, family.horizon if horizon is None else horizon

  def episode(params: Any, adapted: Any, task: Task, reset_key: Key, act_key: Key | None) -> Trajectory:
    def step(carry: tuple[_Decision, State, Array], t: Array) -> tuple[Any, tuple[State, Array]]:
      last, state, runs = carry
      decision = _decide(family, act, num_steps, params, last, task, state, t, act_key)
      after = dynamics.step(task, state, family.actuate(task, decision.action))
      # Past its end an episode stands still: what nobody reads does not run away beyond what is finite.
      after = jax.tree.map(partial(jnp.where, runs), after, state)
      return (decision, after, runs & jnp.logical_not(family.terminal(task, after))), (after, decision.drawn)

    start = family.reset(task, reset_key)
    begin = (_first(family, adapted, start), start, jnp.array(True))
    _, (states, drawn) = jax.lax.scan(step, begin, jnp.arange(num_steps))
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)
    return _record(family, task, states, drawn)

  return episode


def _compiled_rollout(family: TaskFamily, act: Act) -> RolloutFn:
  episode = make_episode(family, act)

  @partial(jax.jit, static_argnames="deterministic")
  def rollout(params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    reset_keys, act_keys = episode_keys(key, _num_episodes(tasks))
    keys, mapped = (None, None) if deterministic else (act_keys, 0)
    trajectory = jax.vmap(episode, (None, 0, 0, 0, mapped))(params, adapted, tasks, reset_keys, keys)
    return trajectory._replace(action=jnp.clip(trajectory.action, -1.0, 1.0))

  return rollout


def _native_rollout(family: TaskFamily, dynamics: MujocoDynamics, act: Act) -> RolloutFn:
  import_mujoco()
  # Only here: it imports MuJoCo at once.
  from macaw_jax.envs.native import NativeSimulator

  simulator = NativeSimulator(dynamics)

  @jax.jit
  def start(tasks: Task, key: Key) -> tuple[Physics, Key]:
    reset_keys, act_keys = episode_keys(key, _num_episodes(tasks))
    return jax.vmap(family.reset)(tasks, reset_keys), act_keys

  @jax.jit
  def decide(
    params: Any, last: _Decision, tasks: Task, state: Physics, t: Array, keys: Key | None
  ) -> tuple[_Decision, Array]:
    """The decision of each episode, and what of its action reaches the physics, [N, A]."""
    axes = (0, 0, 0, None, None if keys is None else 0)
    decision = jax.vmap(partial(_decide, family, act, family.horizon, params), axes)(last, tasks, state, t, keys)
    return decision, jax.vmap(family.actuate)(tasks, decision.action)

  def record(task: Task, state: Physics, action: Array) -> Trajectory:
    trajectory = _record(family, task, state, action)
    # The simulator goes on until the last episode has ended; held here is the state after the last step that counted.
    steps = jnp.minimum(jnp.arange(len(action) + 1), jnp.sum(trajectory.mask).astype(int))
    return trajectory._replace(state=jax.tree.map(lambda x: x[steps], state))

  record_all = jax.jit(jax.vmap(record))

  def rollout(params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    reset_state, act_keys = start(tasks, key)
    keys = None if deterministic else act_keys
    models = simulator.models(tasks)
    physics = simulator.start(models, reset_state)
    states, actions = [physics], []
    decision = _first(family, adapted, _as_float32(physics), _num_episodes(tasks))
    for t in range(family.horizon):
      decision, control = decide(params, decision, tasks, _as_float32(physics), np.int32(t), keys)
      actions.append(np.asarray(decision.action))
      physics = simulator.step(models, physics, np.asarray(control))
      states.append(physics)
    with jax.enable_x64(True):
      trajectory = record_all(tasks, jax.tree.map(lambda *x: np.stack(x, axis=1), *states), np.stack(actions, axis=1))
    return jax.tree.map(np.asarray, trajectory)

  return rollout


def _as_float32(physics: Physics) -> Physics:
  return jax.tree.map(lambda x: x.astype(np.float32), physics)


def _num_episodes(tasks: Task) -> int:
  return int(jax.tree.leaves(tasks)[0].shape[0])
