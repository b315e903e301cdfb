"""Whole episodes of many tasks in lockstep, on the native simulator or compiled into one scan."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, State, Task, TaskFamily
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.types import Array, Key, TimeStep

Act = Callable[[Any, Any, TimeStep, Key | None], tuple[Array, Any]]
"""`Algorithm.act`: `(params, task, timestep, key) -> (action, task)`, one step of one episode."""


Engine = Literal["native", "mjx"]


class Trajectory(NamedTuple):
  """N episodes of H steps. After the end of an episode its state stands still and everything else is zero."""

  observation: Array  # [N, H + 1, O]
  action: Array  # [N, H, A]  clipped, as commanded
  reward: Array  # [N, H]
  terminal: Array  # [N, H]  1.0 on the step that ended the episode by the task's own rule
  mask: Array  # [N, H]  1.0 while the episode runs, the step that ends it included
  state: State  # leaves [N, H + 1, ...]


class RolloutFn(Protocol):
  """Runs one episode for each of N tasks."""

  def __call__(self, params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    """N episodes.

    Args:
      params: what `act` takes, shared by the episodes.
      adapted: what adaptation changed, leaves `[N, ...]`; before adaptation, draws of `Algorithm.prior`.
      tasks: the family's task of each episode, leaves `[N, ...]`.
      key: decides the starts and, for a stochastic policy, the actions. Episode i depends on the key and on i,
        not on the episodes beside it.
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
      is one. An analytic family is compiled whatever it is.
  """
  if isinstance(family.dynamics, MujocoDynamics):
    if engine == "native":
      return _native_rollout(family, family.dynamics, act)
    # Only here: importing MJX takes a second and prints that one of its own back ends is absent.
    from macaw_jax.envs.mjx_engine import on_mjx

    family = on_mjx(family)
  return _compiled_rollout(family, act)


def episode_return(trajectory: Trajectory) -> Array:
  """Undiscounted return of each episode, [N]: the sum of its rewards, which are zero after its end."""
  return jnp.sum(trajectory.reward, axis=-1)


class _Decision(NamedTuple):
  """What one step of an episode hands to the next."""

  adapted: Any  # what `act` returned
  state: State  # the state the action was chosen in
  action: Array  # [A]


def _decide(
  family: TaskFamily, act: Act, params: Any, last: _Decision, task: Task, state: State, first: Array, key: Key | None
) -> _Decision:
  """Chooses the action in `state`, one episode."""
  reward = family.reward(task, last.state, last.action, state)
  timestep = TimeStep(family.observe(task, state), last.action, jnp.where(first == 1.0, 0.0, reward), first)
  action, adapted = act(params, last.adapted, timestep, key)
  return _Decision(adapted, state, jnp.clip(action, -1.0, 1.0))


def _episode_keys(key: Key, num_episodes: int) -> tuple[Key, Key]:
  """One key for the start and one for the actions of each episode, [N] each."""
  keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_episodes))
  pairs = jax.vmap(jax.random.split)(keys)
  return pairs[:, 0], pairs[:, 1]


def _score(family: TaskFamily, task: Task, state: State, action: Array) -> Trajectory:
  """The trajectory of one episode from its states [H + 1, ...] and actions [H, A], cut at its first end."""
  before, after = jax.tree.map(lambda x: x[:-1], state), jax.tree.map(lambda x: x[1:], state)
  ended = jax.vmap(partial(family.terminal, task))(after)  # [H]
  ended_before = jnp.cumsum(ended) - ended > 0
  mask = jnp.where(ended_before, 0.0, 1.0)
  # Held from the end on: the state after the last step that counted.
  steps = jnp.arange(len(mask) + 1)
  held = jax.tree.map(lambda x: x[jnp.minimum(steps, jnp.sum(~ended_before))], state)
  reward = jax.vmap(partial(family.reward, task))(before, action, after)
  return Trajectory(
    observation=jax.vmap(partial(family.observe, task))(held).astype(jnp.float32),
    action=jnp.where(mask[:, None] == 1.0, action, 0.0).astype(jnp.float32),
    reward=jnp.where(mask == 1.0, reward, 0.0).astype(jnp.float32),
    terminal=(ended * mask).astype(jnp.float32),
    mask=mask.astype(jnp.float32),
    state=held,
  )


def _compiled_rollout(family: TaskFamily, act: Act) -> RolloutFn:
  assert isinstance(family.dynamics, AnalyticDynamics)
  dynamics = family.dynamics

  def episode(params: Any, adapted: Any, task: Task, reset_key: Key, act_key: Key | None) -> Trajectory:
    def step(last: _Decision, t: Array) -> tuple[_Decision, tuple[State, Array]]:
      state = dynamics.step(task, last.state, family.actuate(task, last.action))
      key = None if act_key is None else jax.random.fold_in(act_key, t)
      # After the last step nothing acts on this decision: one action too many costs less than compiling the physics
      # a second time for that step.
      return _decide(family, act, params, last, task, state, jnp.zeros(()), key), (state, last.action)

    start = family.reset(task, reset_key)
    nothing = _Decision(adapted, start, jnp.zeros(family.action_size))
    # The first step stands alone: it may add to `adapted` (a recurrent agent's carry), which a scan cannot.
    first_key = None if act_key is None else jax.random.fold_in(act_key, 0)
    first = _decide(family, act, params, nothing, task, start, jnp.ones(()), first_key)
    _, (states, actions) = jax.lax.scan(step, first, jnp.arange(1, family.horizon + 1))
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)
    return _score(family, task, states, actions)

  @partial(jax.jit, static_argnames="deterministic")
  def rollout(params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    reset_keys, act_keys = _episode_keys(key, _num_episodes(tasks))
    if deterministic:
      return jax.vmap(episode, (None, 0, 0, 0, None))(params, adapted, tasks, reset_keys, None)
    return jax.vmap(episode, (None, 0, 0, 0, 0))(params, adapted, tasks, reset_keys, act_keys)

  return rollout


def _native_rollout(family: TaskFamily, dynamics: MujocoDynamics, act: Act) -> RolloutFn:
  simulator = NativeSimulator(dynamics)

  @jax.jit
  def start(tasks: Task, key: Key) -> tuple[Physics, Key]:
    reset_keys, act_keys = _episode_keys(key, _num_episodes(tasks))
    return jax.vmap(family.reset)(tasks, reset_keys), act_keys

  @jax.jit
  def decide(
    params: Any, last: _Decision, tasks: Task, state: Physics, t: Array, keys: Key | None
  ) -> tuple[_Decision, Array]:
    """The decision of each episode, and what of its action reaches the physics, [N, A]."""
    first = (t == 0).astype(jnp.float32)

    def one(last: _Decision, task: Task, state: Physics, key: Key | None) -> _Decision:
      step_key = None if key is None else jax.random.fold_in(key, t)
      return _decide(family, act, params, last, task, state, first, step_key)

    decision = jax.vmap(one, (0, 0, 0, None if keys is None else 0))(last, tasks, state, keys)
    return decision, jax.vmap(family.actuate)(tasks, decision.action)

  @jax.jit
  def score(tasks: Task, states: Physics, actions: Array) -> Trajectory:
    return jax.vmap(partial(_score, family))(tasks, states, actions)

  def rollout(params: Any, adapted: Any, tasks: Task, key: Key, *, deterministic: bool = True) -> Trajectory:
    reset_state, act_keys = start(tasks, key)
    keys = None if deterministic else act_keys
    models = simulator.models(tasks)
    physics = simulator.start(models, reset_state)
    states, actions = [physics], []
    seen = jax.tree.map(lambda x: x.astype(np.float32), physics)
    decision = _Decision(adapted, seen, jnp.zeros((_num_episodes(tasks), family.action_size)))
    for t in range(family.horizon):
      seen = jax.tree.map(lambda x: x.astype(np.float32), physics)
      decision, control = decide(params, decision, tasks, seen, np.int32(t), keys)
      actions.append(np.asarray(decision.action))
      physics = simulator.step(models, physics, np.asarray(control))
      states.append(physics)
    with jax.enable_x64(True):
      trajectory = score(tasks, jax.tree.map(lambda *x: np.stack(x, axis=1), *states), np.stack(actions, axis=1))
    return jax.tree.map(np.asarray, trajectory)

  return rollout


def _num_episodes(tasks: Task) -> int:
  return int(jax.tree.leaves(tasks)[0].shape[0])
