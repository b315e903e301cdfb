"""The variant `+time_to_go`: the same episodes, and in their observations the share of the episode that is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.brax_env import as_brax_env
from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.envs.variants import VARIANTS, task_index, with_time_to_go

KEY = jax.random.key(0)


def act_on_place(params, task, timestep, key):
  """An action of the first two entries alone, which both have."""
  action = jnp.resize(jnp.tanh(timestep.observation[:2]), params.shape)
  return (action if key is None else action + 0.1 * jax.random.normal(key, action.shape)), task


def act_by_the_clock(params, task, timestep, key):
  """The last entry of the observation as the action."""
  return jnp.full(params.shape, timestep.observation[-1]), task


def both(name, **changes):
  family = envs.make(name)._replace(**changes)
  return family, with_time_to_go(family)


def some_tasks(family):
  return jax.tree.map(lambda leaf: leaf[:2], family.tasks)


@pytest.mark.parametrize(
  ("name", "engine", "horizon"),
  [("point_robot", "native", 20), ("cheetah_dir", "native", 4), ("hopper_params", "native", 4)],
)
def test_an_episode_is_the_same_with_the_time_beside_it(name, engine, horizon):
  without, timed = (
    make_rollout(family, act_on_place, engine)(
      jnp.zeros(family.action_size), {}, some_tasks(family), KEY, deterministic=False
    )
    for family in both(name, horizon=horizon)
  )
  left = (horizon - np.arange(horizon + 1)) / horizon
  np.testing.assert_array_equal(timed.observation[..., :-1], without.observation)
  np.testing.assert_array_equal(timed.next_observation[..., :-1], without.next_observation)
  np.testing.assert_allclose(timed.observation[..., -1], np.tile(left[:-1], (2, 1)) * without.mask, rtol=1e-6)
  np.testing.assert_allclose(timed.next_observation[..., -1], np.tile(left[1:], (2, 1)) * without.mask, atol=1e-7)
  for field in ("action", "reward", "mask", "terminal"):
    np.testing.assert_array_equal(getattr(timed, field), getattr(without, field))


@pytest.mark.parametrize(("name", "engine"), [("point_robot", "native"), ("cheetah_dir", "native")])
def test_the_agent_sees_the_time_in_every_loop(name, engine):
  """An agent that acts by the clock leaves it in its actions: 1, 2/3, 1/3."""
  _, family = both(name, horizon=3)
  expected = np.broadcast_to(np.array([3, 2, 1])[:, None] / 3, (2, 3, family.action_size))
  trajectory = make_rollout(family, act_by_the_clock, engine)(
    jnp.zeros(family.action_size), {}, some_tasks(family), KEY
  )
  np.testing.assert_allclose(trajectory.action, expected, rtol=1e-6)
  sampled = make_sampled_rollout(family, act_by_the_clock, engine=engine)
  task = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), family.tasks)
  episodes = jax.jit(sampled, static_argnums=4)(jnp.zeros(family.action_size), {}, task, KEY, 2)
  np.testing.assert_allclose(episodes.action, expected, rtol=1e-6)


def test_in_shorter_episodes_it_is_a_share_of_those():
  _, family = both("point_robot")
  rollout = make_sampled_rollout(family, act_by_the_clock, horizon=2)
  task = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), family.tasks)
  np.testing.assert_allclose(rollout(jnp.zeros(2), {}, task, KEY, 1).observation[0, :, -1], [1.0, 0.5])


def test_an_environment_of_brax_has_it_too_and_begins_again():
  env = as_brax_env(envs.make("point_robot+time_to_go"), tasks=0)
  assert env.observation_size == 3
  state = env.reset(KEY)
  before = as_brax_env(envs.make("point_robot"), tasks=0).reset(KEY)
  np.testing.assert_array_equal(state.obs, [*before.obs, 1.0])
  np.testing.assert_allclose(env.step(state, jnp.ones(2)).obs, [*(before.obs + 0.1), 0.95], rtol=1e-6)
  assert (
    env.step(state, jnp.ones(2)).reward
    == as_brax_env(envs.make("point_robot"), tasks=0).step(before, jnp.ones(2)).reward
  )


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_every_family_has_every_variant(name, variant):
  family, plain = envs.make(f"{name}+{variant}"), envs.make(name)
  assert family.name == f"{name}+{variant}"
  assert isinstance(family.dynamics, AnalyticDynamics | MujocoDynamics)
  sizes = {"time_to_go": 1, "task_index": plain.num_tasks, "task_vector": numbers_of(plain, 0).size}
  assert family.observation_size == plain.observation_size + sizes[variant]
  assert plain.show is not family.show


def numbers_of(family, index):
  return np.concatenate([np.ravel(leaf[index]) for leaf in jax.tree.leaves(family.tasks)])


@pytest.mark.parametrize(("name", "horizon"), [("point_robot", 3), ("cheetah_dir", 3), ("hopper_params", 2)])
@pytest.mark.parametrize("variant", ["task_vector", "task_index"])
def test_an_episode_is_the_same_with_its_task_beside_it(name, horizon, variant):
  plain = envs.make(name)._replace(horizon=horizon)
  family = VARIANTS[variant](plain)
  chosen = np.array([1, 0])
  tasks = jax.tree.map(lambda leaf: leaf[chosen], plain.tasks)
  without, shown = (
    make_rollout(each, act_on_place)(jnp.zeros(plain.action_size), {}, tasks, KEY) for each in (plain, family)
  )
  one_hot = np.eye(plain.num_tasks)
  expected = np.stack([numbers_of(plain, i) if variant == "task_vector" else one_hot[i] for i in chosen])
  size, mask = plain.observation_size, np.asarray(without.mask)[..., None]
  for field in ("observation", "next_observation"):
    np.testing.assert_array_equal(getattr(shown, field)[..., :size], getattr(without, field))
    np.testing.assert_allclose(getattr(shown, field)[..., size:], expected[:, None] * mask, rtol=1e-6)
  np.testing.assert_array_equal(shown.reward, without.reward)


def test_test_tasks_have_places_of_their_own_and_the_nearest_place_is_taken():
  family = envs.make("point_robot")
  index = task_index(family)
  every = jax.jit(jax.vmap(index))(jax.tree.map(jnp.asarray, family.tasks))
  np.testing.assert_array_equal(every, np.eye(family.num_tasks))
  moved = {"goal": jnp.asarray(family.tasks["goal"][family.test_tasks[0]]) + 1e-4}
  assert int(jnp.argmax(index(moved))) == family.test_tasks[0]


def test_variants_stand_behind_each_other_in_any_order():
  first, second = (envs.make(f"point_robot+{names}") for names in ("time_to_go+task_vector", "task_vector+time_to_go"))
  task = jax.tree.map(lambda leaf: jnp.asarray(leaf[2]), first.tasks)
  state = first.reset(task, KEY)
  shown = [family.show(family.observe(task, state), 0.25) for family in (first, second)]
  np.testing.assert_allclose(shown[0], [*state, 0.25, *task["goal"]], rtol=1e-6)
  np.testing.assert_allclose(shown[1], [*state, *task["goal"], 0.25], rtol=1e-6)
  for family, each in zip((first, second), shown, strict=True):
    if family.state_of is not None:
      np.testing.assert_allclose(family.state_of(task, each), state)
