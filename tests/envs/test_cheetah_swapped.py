import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.envs.cheetah_swapped import cheetah_swapped, observe, reward, tipped, wire
from macaw_jax.envs.family import Physics
from macaw_jax.envs.mjx_engine import on_mjx
from macaw_jax.envs.native_engine import on_native
from macaw_jax.envs.rollout import episode_return, make_rollout

FAMILY = cheetah_swapped()
EXCHANGED = [3, 1, 2, 0, 4, 5]
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def same_start(task, key):
  return FAMILY.reset(task, jax.random.key(5))


def test_only_the_thighs_change_places_and_only_where_the_flag_is_one():
  action = jnp.arange(1.0, 7.0)
  np.testing.assert_array_equal(wire({"swap": np.float32(1.0)}, action), [4, 2, 3, 1, 5, 6])
  np.testing.assert_array_equal(wire({"swap": np.float32(0.0)}, action), action)


def test_the_observation_leaves_out_place_and_its_velocity():
  qpos, qvel = jnp.arange(9.0), 10 + jnp.arange(9.0)
  np.testing.assert_array_equal(observe({}, Physics(qpos, qvel)), [2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 18])


def test_reward_by_hand():
  # 0.1 m in 0.05 s is 2 m/s; plus 1; the action costs 0.05 * (1 + 0.25) = 0.0625.
  before, after = (Physics(jnp.zeros(9).at[0].set(x), jnp.zeros(9)) for x in (1.0, 1.1))
  action = jnp.array([1.0, 0.0, 0.0, -0.5, 0.0, 0.0])
  assert reward({}, before, action, after) == pytest.approx(2.9375, abs=1e-5)


@pytest.mark.parametrize(
  ("degrees", "expected"), [(0, False), (36.8, False), (-36.8, False), (36.9, True), (-40, True)]
)
def test_it_ends_where_the_cosine_of_the_pitch_is_below_eight_tenths(degrees, expected):
  state = Physics(jnp.zeros(9).at[2].set(math.radians(degrees)), jnp.zeros(9))
  assert bool(tipped({}, state)) == expected


def test_each_wiring_is_twice_among_the_training_tasks():
  np.testing.assert_array_equal(FAMILY.tasks["swap"], [1, 0, 1, 0])
  assert (FAMILY.train_tasks, FAMILY.test_tasks, FAMILY.horizon) == ((0, 1, 2, 3), (0, 1), 1000)


def test_standing_still_is_worth_a_thousand():
  def nothing(params, adapted, timestep, key):
    return jnp.zeros(6), adapted

  # Starting at rest in the middle: what the start's noise moves it by is paid too.
  family = FAMILY._replace(reset=lambda task, key: Physics(jnp.zeros(9), jnp.zeros(9)))
  trajectory = make_rollout(family, nothing)({}, {}, {"swap": np.float32([0.0, 1.0])}, jax.random.key(0))
  np.testing.assert_allclose(episode_return(trajectory), 1000.0, atol=1.0)
  assert np.all(trajectory.mask == 1.0)


ACTIONS = np.random.RandomState(1).uniform(-1.3, 1.3, (60, 6)).astype(np.float32)  # some beyond the clip


def play(actions, adapted, timestep, key):
  """Plays actions in their order, whatever it sees; `adapted` counts the steps."""
  return jnp.asarray(actions)[adapted], adapted + 1


def test_a_swap_is_no_swap_with_exchanged_actions_on_the_native_engine():
  rollout = make_rollout(FAMILY._replace(reset=same_start, horizon=60), play)
  counts, key = jnp.zeros(1, int), jax.random.key(0)
  swapped = rollout(ACTIONS, counts, {"swap": np.float32([1.0])}, key)
  exchanged = rollout(ACTIONS[:, EXCHANGED], counts, {"swap": np.float32([0.0])}, key)
  unswapped = rollout(ACTIONS, counts, {"swap": np.float32([0.0])}, key)
  np.testing.assert_array_equal(swapped.observation, exchanged.observation)
  # The cost is a sum in another order.
  np.testing.assert_allclose(swapped.reward, exchanged.reward, atol=1e-6)
  assert np.max(np.abs(swapped.observation - unswapped.observation)) > 0.5
  # What is recorded is the command, clipped, not what reached the motors.
  steps = int(np.sum(swapped.mask))
  np.testing.assert_array_equal(swapped.action[0, :steps], np.clip(ACTIONS, -1, 1)[:steps])


@pytest.mark.parametrize("engine", [on_native, pytest.param(on_mjx, id="mjx")])
def test_a_compiled_engine_exchanges_once(engine):
  """And leaves nothing for its caller to actuate: an exchange done twice would be none."""
  family = engine(FAMILY)
  action = jnp.clip(ACTIONS[0], -1.0, 1.0)
  np.testing.assert_array_equal(family.actuate({"swap": jnp.ones(())}, action), action)
  start = FAMILY.reset({}, jax.random.key(5))
  tasks = {"swap": jnp.array([1.0, 0.0, 0.0])}
  actions = jnp.stack([action, action[np.array(EXCHANGED)], action])
  step = jax.jit(jax.vmap(family.dynamics.step, (0, None, 0))).lower(tasks, start, actions)
  after = step.compile(compiler_options=QUICK)(tasks, start, actions)
  np.testing.assert_allclose(after.qvel[0], after.qvel[1], atol=1e-4)
  assert np.max(np.abs(after.qvel[0] - after.qvel[2])) > 0.5
