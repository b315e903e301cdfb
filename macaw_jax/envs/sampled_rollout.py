"""Episodes of one policy in one task, as the policy-gradient methods learn from them: actions as they were drawn."""

from functools import partial
from typing import Any, NamedTuple, Protocol, get_args

import jax
import jax.numpy as jnp

from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, State, Task, TaskFamily
from macaw_jax.envs.native_engine import on_native
from macaw_jax.envs.rollout import Act, Engine
from macaw_jax.types import Array, Key, TimeStep, Trajectory


class SampledRollout(Protocol):
  """Runs several episodes in one task: a pure function, to be mapped over tasks and compiled by the caller."""

  def __call__(self, params: Any, adapted: Any, task: Task, key: Key, num_episodes: int) -> Trajectory:
    """E episodes side by side, leaves `[E, H, ...]`.

    Args:
      params: what `act` takes.
      adapted: what adaptation changed.
      task: of the family.
      key: decides starts and actions; episode i depends on the key and on i alone.
      num_episodes: E.
    """


class _Moment(NamedTuple):
  """Where an episode stands."""

  state: State
  adapted: Any
  action: Array  # [A]  the one before, clipped
  reward: Array  # []
  runs: Array  # []  bool


def make_sampled_rollout(
  family: TaskFamily, act: Act, *, horizon: int | None = None, engine: Engine = "native"
) -> SampledRollout:
  """The rollout of a family under a stochastic acting function, as one scan over time.

  Args:
    family: where episodes are run.
    act: `(params, adapted, timestep, key) -> (action, adapted)`; what it returns as adapted has one structure.
    horizon: steps of an episode that nothing ends sooner; the family's if not given.
    engine: that steps MuJoCo bodies: "native", called from the compiled program once a step for all episodes, or "mjx",
      inside it. An analytic family is compiled with either.

  Raises:
    ValueError: there is no such engine.
  """
  if engine not in get_args(Engine):
    raise ValueError(f"engine={engine!r} is unknown; choose one of {', '.join(get_args(Engine))}")
  family = _compiled(family, engine)
  assert isinstance(family.dynamics, AnalyticDynamics)
  dynamics, num_steps = family.dynamics, family.horizon if horizon is None else horizon

  def episode(params: Any, adapted: Any, task: Task, key: Key) -> Trajectory:
    reset_key, act_key = jax.random.split(key)
    start = family.reset(task, reset_key)

    def step(moment: _Moment, t: Array) -> tuple[_Moment, Trajectory]:
      observation = family.observe(task, moment.state)
      timestep = TimeStep(observation, moment.action, moment.reward, (t == 0).astype(float))
      drawn, adapted = act(params, moment.adapted, timestep, jax.random.fold_in(act_key, t))
      action = jnp.clip(drawn, -1.0, 1.0)
      after = dynamics.step(task, moment.state, family.actuate(task, action))
      reward = family.reward(task, moment.state, action, after)
      row = Trajectory(observation, drawn, family.observe(task, after), jnp.ones(()), reward)
      # Past its end an episode is zero, and stands still: what nobody reads does not run away beyond what is finite.
      row = jax.tree.map(lambda leaf: jnp.where(moment.runs, leaf, 0.0), row)
      after = jax.tree.map(partial(jnp.where, moment.runs), after, moment.state)
      runs = moment.runs & ~family.terminal(task, after)
      return _Moment(after, adapted, action, reward, runs), row

    nothing = _Moment(start, adapted, jnp.zeros(family.action_size), jnp.zeros(()), jnp.array(True))
    _, episodes = jax.lax.scan(step, nothing, jnp.arange(num_steps))
    return episodes

  def rollout(params: Any, adapted: Any, task: Task, key: Key, num_episodes: int) -> Trajectory:
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_episodes))
    return jax.vmap(episode, (None, None, None, 0))(params, adapted, task, keys)

  return rollout


def _compiled(family: TaskFamily, engine: Engine) -> TaskFamily:
  """The family with its physics as a JAX function."""
  if not isinstance(family.dynamics, MujocoDynamics):
    return family
  if engine == "native":
    return on_native(family)
  # Only here: importing MJX takes a second and prints that one of its own back ends is absent.
  from macaw_jax.envs.mjx_engine import on_mjx

  return on_mjx(family)
