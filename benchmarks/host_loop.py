"""Episodes the usual way: a Python loop over time steps, the policy compiled, the physics in NumPy.

Every step is one compiled call of the policy for all episodes of all tasks, and one pass of NumPy over them; the loop
ends with the last episode. Arrays are `[T, E, ...]`, in float32.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs import cartpole, point_rotated
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.types import Algorithm, Array, Key, Params, TaskBatch, TimeStep, TrainState, Trajectory

Values = Any  # np.ndarray; what the package declares as jax.Array may be either
Tasks = Mapping[str, Values]  # leaves [T, 1]

COMPARED_STEPS = 10


class NumpyFamily(NamedTuple):
  """The functions of a `TaskFamily` on all episodes at once; a state is `[T, E, S]`."""

  reset: Callable[[np.random.Generator, tuple[int, int]], Values]
  step: Callable[[Tasks, Values, Values], Values]
  observe: Callable[[Tasks, Values], Values]
  reward: Callable[[Values], Values]  # of the next state, [T, E]
  terminal: Callable[[Values], Values]  # bool [T, E]


def point(*, sparse: bool) -> NumpyFamily:
  """`point_rotated`, or `point_rotated_sparse`."""

  def reset(generator: np.random.Generator, shape: tuple[int, int]) -> Values:
    del generator
    return zeros(*shape, 2)

  def step(tasks: Tasks, state: Values, action: Values) -> Values:
    cosine, sine = np.cos(tasks["angle"]), np.sin(tasks["angle"])
    x, y = action[..., 0], action[..., 1]
    move = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
    return np.clip(state + move, -point_rotated.BORDER, point_rotated.BORDER)

  def distance(state: Values) -> Values:
    return np.sqrt(np.sum((state - np.asarray(point_rotated.GOAL, np.float32)) ** 2, axis=-1))

  return NumpyFamily(
    reset=reset,
    step=step,
    observe=lambda tasks, state: state / np.float32(point_rotated.BORDER),
    reward=(lambda state: np.full(state.shape[:-1], -1.0, np.float32)) if sparse else lambda state: -distance(state),
    terminal=(lambda state: distance(state) < point_rotated.REACH)
    if sparse
    else lambda state: np.zeros(state.shape[:-1], bool),
  )


def cart_and_pole() -> NumpyFamily:
  """`cartpole_bias`; a state is position, velocity, angle, angular velocity."""

  def reset(generator: np.random.Generator, shape: tuple[int, int]) -> Values:
    return generator.uniform(-cartpole.START_LIMIT, cartpole.START_LIMIT, (*shape, 4)).astype(np.float32)

  def step(tasks: Tasks, state: Values, action: Values) -> Values:
    del tasks
    v, angle, w = np.moveaxis(state[..., 1:], -1, 0)
    mass, moment = cartpole.CART_MASS + cartpole.POLE_MASS, cartpole.POLE_MASS * cartpole.POLE_HALF_LENGTH
    sine, cosine = np.sin(angle), np.cos(angle)
    pull = (cartpole.FORCE * action[..., 0] + moment * w**2 * sine) / mass
    inertia = cartpole.POLE_HALF_LENGTH * (4.0 / 3.0 - cartpole.POLE_MASS * cosine**2 / mass)
    angular_acceleration = (cartpole.GRAVITY * sine - cosine * pull) / inertia
    acceleration = pull - moment * angular_acceleration * cosine / mass
    rates = np.stack([v, acceleration, w, angular_acceleration], axis=-1)
    return state + np.float32(cartpole.STEP_SECONDS) * rates

  def observe(tasks: Tasks, state: Values) -> Values:
    observation = np.full(state.shape, -1.0, np.float32)
    observation[..., 0] = state[..., 0] / (2 * cartpole.PLACE_LIMIT)
    observation[..., 2] = (state[..., 2] + tasks["bias"]) / (2 * cartpole.ANGLE_LIMIT)
    return observation

  def fallen(state: Values) -> Values:
    return ~((np.abs(state[..., 0]) < cartpole.PLACE_LIMIT) & (np.abs(state[..., 2]) < cartpole.ANGLE_LIMIT))

  return NumpyFamily(reset, step, observe, lambda state: np.where(fallen(state), 0.0, 1.0), fallen)


FAMILIES: dict[str, Callable[[], NumpyFamily]] = {
  "point_rotated": partial(point, sparse=False),
  "point_rotated_sparse": partial(point, sparse=True),
  "cartpole_bias": cart_and_pole,
}


def zeros(*shape: int) -> Values:
  """In float32."""
  return np.zeros(shape, np.float32)


Act = Callable[[Params, Params, Values, Key, int], Array]
"""`(params, adapted, observation [T, E, O], key, t) -> action [T, E, A]`, compiled."""


def make_act(algorithm: Algorithm, action_size: int) -> Act:
  """Sampled actions of all episodes; the leaves of `adapted` have a leading axis `[T]`."""

  def one_task(params: Params, adapted: Params, observation: Array, key: Key) -> Array:
    num_episodes = len(observation)
    nothing = jnp.zeros(num_episodes)
    timestep = TimeStep(observation, jnp.zeros((num_episodes, action_size)), nothing, nothing)
    return algorithm.act(params, adapted, timestep, key)[0]

  def act(params: Params, adapted: Params, observation: Array, key: Key, t: Array) -> Array:
    keys = jax.random.split(jax.random.fold_in(key, t), len(observation))
    return jax.vmap(one_task, (None, 0, 0, 0))(params, adapted, observation, keys)

  return jax.jit(act)


def loop_episodes(
  family: TaskFamily, act: Act, params: Params, adapted: Params, tasks: Any, num_episodes: int, seed: int
) -> Trajectory:
  """The episodes of `make_sampled_rollout`, mapped over tasks: leaves `[T, E, H, ...]`, zero past the last end."""
  numpy_family, generator, key = FAMILIES[family.name](), np.random.default_rng(seed), jax.random.key(seed)
  tasks = jax.tree.map(lambda leaf: np.asarray(leaf)[:, None], tasks)
  shape = len(jax.tree.leaves(tasks)[0]), num_episodes
  steps = (*shape, family.horizon)
  episodes = Trajectory(
    observation=zeros(*steps, family.observation_size),
    action=zeros(*steps, family.action_size),
    next_observation=zeros(*steps, family.observation_size),
    mask=zeros(*steps),
    reward=zeros(*steps),
  )

  state: Values = numpy_family.reset(generator, shape)
  runs: Values = np.ones(shape, bool)
  observation = numpy_family.observe(tasks, state)
  for t in range(family.horizon):
    action: Values = np.asarray(act(params, adapted, observation, key, t))
    after = numpy_family.step(tasks, state, np.clip(action, -1.0, 1.0))
    after = np.where(runs[..., None], after, state)
    reward: Values = np.where(runs, numpy_family.reward(after), 0.0)
    next_observation = numpy_family.observe(tasks, after)
    row = Trajectory(observation, action, next_observation, runs, reward)
    for values, value in zip(jax.tree.leaves(episodes), jax.tree.leaves(row), strict=True):
      values[:, :, t] = value
    state, observation = after, next_observation
    runs = runs & ~numpy_family.terminal(after)
    if not runs.any():
      break
  return episodes


Update = Callable[[TrainState, Any, int], tuple[TrainState, Trajectory, Trajectory]]
"""`(state, tasks [T, ...], seed) -> (state, support, query)`."""


def make_loop_update(algorithm: Algorithm, family: TaskFamily, num_episodes: int) -> Update:
  """An update with one inner step: episodes from the loop, adaptation and learning in a compiled call each."""
  act = make_act(algorithm, family.action_size)
  adapt = jax.jit(jax.vmap(algorithm.adapt, (None, 0, None)))
  learn = jax.jit(algorithm.update)

  def update(state: TrainState, tasks: Any, seed: int) -> tuple[TrainState, Trajectory, Trajectory]:
    key = jax.random.key(seed)
    support = loop_episodes(family, act, state.params, {}, tasks, num_episodes, 2 * seed)
    support = jax.tree.map(lambda leaf: leaf[:, None], support)  # the set of the only inner step
    seen = support if algorithm.reads_reward else support._replace(reward=None)
    adapted = adapt(state.params, seen, key)
    query = loop_episodes(family, act, state.params, adapted, tasks, num_episodes, 2 * seed + 1)
    state, _ = learn(state, TaskBatch(seen, query, jnp.arange(len(query.mask))), key)
    return state, support, query

  return update


def physics_difference(family: TaskFamily) -> float:
  """The largest difference of an observation, a reward or an end between NumPy and the family.

  In 64 tasks, from random starts, under random actions, over the first steps of an episode.
  """
  assert isinstance(family.dynamics, AnalyticDynamics)
  numpy_family, generator = FAMILIES[family.name](), np.random.default_rng(0)
  tasks = jax.tree.map(lambda leaf: np.asarray(leaf)[np.linspace(0, len(leaf) - 1, 64).astype(int)], family.tasks)
  columns: Any = jax.tree.map(lambda leaf: leaf[:, None], tasks)
  theirs = jax.vmap(family.reset)(tasks, jax.random.split(jax.random.key(0), 64))
  ours: Values = np.stack(jax.tree.leaves(theirs), axis=-1) if isinstance(theirs, tuple) else np.asarray(theirs)
  ours, apart = ours[:, None], []
  for _ in range(COMPARED_STEPS):
    action: Values = generator.uniform(-1.0, 1.0, (64, family.action_size)).astype(np.float32)
    after = jax.vmap(family.dynamics.step)(tasks, theirs, action)
    ours = numpy_family.step(columns, ours, action[:, None])
    apart += [
      jax.vmap(family.observe)(tasks, after) - numpy_family.observe(columns, ours)[:, 0],
      jax.vmap(family.reward)(tasks, theirs, action, after) - numpy_family.reward(ours)[:, 0],
      jax.vmap(family.terminal)(tasks, after) ^ numpy_family.terminal(ours)[:, 0],
    ]
    theirs = after
  return max(float(np.max(np.abs(np.asarray(each, np.float32)))) for each in apart)
