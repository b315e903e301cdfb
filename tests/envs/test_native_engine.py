"""Native MuJoCo called from compiled programs steps as the simulator itself does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.collection.acting import uniform_act
from macaw_jax.envs.family import Physics
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.envs.native_engine import on_native
from macaw_jax.envs.rollout import episode_return, make_rollout


def first_tasks(family, count):
  return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], family.tasks)


def single(physics):
  return jax.tree.map(lambda x: np.asarray(x, np.float32), physics)


# A plain model, one whose physics tasks change, and one with derived fields.
@pytest.mark.parametrize("name", ["cheetah_swapped", "walker_params", "ant_goal"])
def test_ten_steps_are_those_of_the_simulator_to_float32_rounding(name):
  family = envs.make(name)
  tasks = first_tasks(family, 4)
  compiled = on_native(family)
  keys = jax.random.split(jax.random.key(0), 4)
  simulator = NativeSimulator(family.dynamics)
  models = simulator.models(tasks)
  state = jax.jit(jax.vmap(compiled.reset))(tasks, keys)
  expected = single(simulator.start(models, jax.jit(jax.vmap(family.reset))(tasks, keys)))
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  step = jax.jit(jax.vmap(compiled.dynamics.step))
  moved = 0.0
  for action in np.random.RandomState(0).uniform(-1, 1, (10, 4, family.action_size)).astype(np.float32):
    control = np.asarray(jax.vmap(family.actuate)(tasks, action))
    state, before = step(tasks, state, action), expected
    expected = single(simulator.step(models, expected, control))
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    moved = max(moved, np.abs(expected.qvel - before.qvel).max())
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state))
  assert moved > 1.0
  assert set(state.derived) == set(family.dynamics.derived)


def test_a_rollout_is_that_of_the_native_engine_and_ends_where_it_ends():
  family = envs.make("hopper_params")._replace(horizon=40)
  act = partial(uniform_act, action_size=3)
  tasks, key = first_tasks(family, 12), jax.random.key(1)
  native = make_rollout(family, act)({}, {}, tasks, key, deterministic=False)
  compiled = make_rollout(on_native(family), act)({}, {}, tasks, key, deterministic=False)
  lengths = np.sum(native.mask, axis=1)
  assert 5 < lengths.mean() < 39
  np.testing.assert_array_equal(compiled.mask, native.mask)
  np.testing.assert_array_equal(compiled.terminal, native.terminal)
  np.testing.assert_array_equal(compiled.action, native.action)
  np.testing.assert_allclose(compiled.observation, native.observation, atol=0.02)
  # A position is rounded to 1e-7 m and divided by 0.016 s.
  np.testing.assert_allclose(compiled.reward, native.reward, atol=2e-3)
  np.testing.assert_allclose(episode_return(compiled), episode_return(native), atol=0.02)


def program(family, num_episodes, num_steps):
  """Compiled: two members act in `num_episodes` episodes each, `num_steps` steps, and sum up what they were paid."""

  def episode(strength, task, key):
    start_key, act_key = jax.random.split(key)

    def step(state, key):
      action = strength * jax.random.uniform(key, (family.action_size,), minval=-1.0, maxval=1.0)
      after = family.dynamics.step(task, state, action)
      return after, family.reward(task, state, action, after)

    end, rewards = jax.lax.scan(step, family.reset(task, start_key), jax.random.split(act_key, num_steps))
    return end, rewards.sum()

  def run(strengths, key):
    tasks = jax.tree.map(lambda leaf: jnp.asarray(leaf)[jnp.arange(num_episodes) % len(leaf)], family.tasks)
    over_episodes = jax.vmap(episode, (None, 0, 0))
    return jax.vmap(over_episodes, (0, None, None))(strengths, tasks, jax.random.split(key, num_episodes))

  return jax.jit(run)


def test_programs_in_flight_together_end_and_repeat_themselves_bit_for_bit():
  run = program(on_native(envs.make("cheetah_swapped")), num_episodes=200, num_steps=100)
  strengths = jnp.array([0.3, 1.0])
  results = [run(strengths, jax.random.key(seed)) for seed in (0, 1, 0)]  # none waited for
  first, other, again = jax.tree.map(np.asarray, results)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert not np.array_equal(first[1], other[1])
  assert first[0].qpos.shape == (2, 200, 9)


def test_an_episode_does_not_depend_on_those_beside_it():
  family = on_native(envs.make("walker_params"))
  tasks, action = first_tasks(family, 6), jnp.full((6, 6), 0.5)
  state = jax.vmap(family.reset)(tasks, jax.random.split(jax.random.key(0), 6))
  together = jax.vmap(family.dynamics.step)(tasks, state, action)
  alone = family.dynamics.step(*jax.tree.map(lambda x: x[5], (tasks, state, action)))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[5]), alone, together)


def callbacks(jaxpr):
  """The callbacks of a program, those within its inner programs included."""
  found = []
  for equation in jaxpr.eqns:
    if equation.primitive.name == "pure_callback":
      found.append(equation)
    for value in equation.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
          found += callbacks(inner)
  return found


@pytest.mark.parametrize("name", ["cheetah_swapped", "walker_params"])
def test_a_batch_is_one_call_with_no_argument_that_jax_would_wait_for(name):
  family = on_native(envs.make(name))
  run = program(family, num_episodes=3000, num_steps=2)
  (call,) = callbacks(jax.make_jaxpr(run)(jnp.ones(2), jax.random.key(0)).jaxpr)
  assert call.outvars[0].aval.shape[0] == 6000
  sizes = [variable.aval.size * variable.aval.dtype.itemsize for variable in call.invars]
  assert max(sizes) < 100 * 1024 < sum(sizes)


def test_large_batches_in_pieces_are_put_together_in_order():
  family = on_native(envs.make("cheetah_swapped"))
  num_episodes = 4000
  task = {"swap": jnp.ones(())}
  qpos = jnp.zeros((num_episodes, 9)).at[:, 0].set(jnp.arange(num_episodes) * 0.01)
  state = Physics(qpos, jnp.zeros((num_episodes, 9)))
  action = jnp.linspace(-1.0, 1.0, num_episodes)[:, None] * jnp.ones(6)
  step = jax.vmap(family.dynamics.step, (None, 0, 0))
  after = step(task, state, action)
  some = np.array([0, 1234, 1821, 2900, 3999])
  alone = step(task, jax.tree.map(lambda x: x[some], state), action[some])
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[some], b), after, alone)


def test_without_mujoco_physics_there_is_nothing_to_call():
  with pytest.raises(ValueError, match="point_rotated:"):
    on_native(envs.make("point_rotated"))
