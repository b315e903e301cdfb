"""Episodes as policy-gradient agents learn from them: where they end, what was drawn, and what the physics saw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax import envs
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.envs.sampled_rollout import make_sampled_rollout

KEY = jax.random.key(0)
HORIZON = 6
TASK = {"floor": jnp.array(3.0)}


def stairs():
  """A walk that begins between 4.5 and 5.5 and moves down by 1 + a quarter of the action, turned around by a motor.

  It ends below the task's floor, and is paid the height it reaches, less a tenth of the action.
  """
  return TaskFamily(
    name="stairs",
    observation_size=2,
    action_size=1,
    horizon=HORIZON,
    tasks={"floor": np.float32([3.0, -100.0])},
    train_tasks=(0, 1),
    test_tasks=(0,),
    dynamics=AnalyticDynamics(lambda task, state, action: state - 1.0 - 0.25 * action[0]),
    reset=lambda task, key: 4.5 + jax.random.uniform(key),
    observe=lambda task, state: jnp.stack([state, -state]),
    reward=lambda task, state, action, after: after - 0.1 * action[0],
    terminal=lambda task, state: state < task["floor"],
    actuate=lambda task, action: -action,
  )


def noisy(params, adapted, timestep, key):
  """Draws from a normal of the standard deviation `params` around `adapted`."""
  return adapted + params * jax.random.normal(key, (1,)), adapted


def run(act=noisy, *, params=3.0, adapted=0.0, task=TASK, key=KEY, num_episodes=20, family=None, **options):
  rollout = make_sampled_rollout(stairs() if family is None else family, act, **options)
  return jax.jit(rollout, static_argnums=4)(params, adapted, task, key, num_episodes)


def test_shapes():
  episodes = run(num_episodes=4)
  assert episodes.observation.shape == episodes.next_observation.shape == (4, HORIZON, 2)
  assert episodes.action.shape == (4, HORIZON, 1)
  assert episodes.reward.shape == episodes.mask.shape == (4, HORIZON)
  assert episodes.behaviour is None
  assert run(num_episodes=4, horizon=3).mask.shape == (4, 3)


def test_actions_are_stored_as_drawn_and_reach_physics_and_reward_clipped():
  episodes = run()
  runs, action = episodes.mask == 1, episodes.action[..., 0]
  assert np.max(np.abs(action)) > 3
  clipped = np.clip(action, -1, 1)
  height, after = episodes.observation[..., 0], episodes.next_observation[..., 0]
  np.testing.assert_allclose(after[runs], (height - 1.0 + 0.25 * clipped)[runs], rtol=1e-6)
  np.testing.assert_allclose(episodes.reward[runs], (after - 0.1 * clipped)[runs], rtol=1e-5, atol=1e-6)


def test_an_episode_counts_up_to_the_step_that_ends_it_and_is_zero_from_there():
  episodes = run()
  lengths = np.asarray(episodes.mask).sum(axis=1).astype(int)
  assert len(set(lengths)) > 1
  for length, mask, before, after, reward in zip(
    lengths, episodes.mask, episodes.observation, episodes.next_observation, episodes.reward, strict=True
  ):
    np.testing.assert_array_equal(mask, np.arange(HORIZON) < length)
    heights = after[:, 0]
    assert np.all(heights[: length - 1] >= 3.0)
    assert heights[length - 1] < 3.0  # Its own last state, not the start of another episode.
    np.testing.assert_array_equal(before[1:length], after[: length - 1])
    assert np.all(reward[:length] != 0)
    for past in (before, after, reward):
      assert not np.any(past[length:])


def test_an_episode_that_nothing_ends_counts_to_the_horizon():
  episodes = run(task={"floor": jnp.array(-100.0)})
  np.testing.assert_array_equal(episodes.mask, np.ones((20, HORIZON)))
  np.testing.assert_array_equal(episodes.observation[:, 1:], episodes.next_observation[:, :-1])


def test_an_episode_depends_on_its_number_and_the_key_not_on_how_many_there_are():
  few, many = run(num_episodes=3), run(num_episodes=20)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[:3], rtol=1e-6), few, many)
  jax.tree.map(np.testing.assert_array_equal, many, run(num_episodes=20))
  other = run(num_episodes=20, key=jax.random.key(1))
  assert not np.any((other.action == many.action)[(other.mask == 1) & (many.mask == 1)])
  starts = np.asarray(many.observation[:, 0, 0])
  assert len(set(starts)) == 20
  drawn = np.asarray(many.action)[many.mask == 1].ravel()
  assert len(set(drawn)) == len(drawn)
  assert abs(np.corrcoef(starts, many.action[:, 0, 0])[0, 1]) < 0.7


def test_the_agent_sees_its_clipped_action_its_reward_and_where_an_episode_begins_and_carries_what_it_returns():
  endless = {"floor": jnp.array(-100.0)}

  def counts(params, adapted, timestep, key):
    seen = jnp.stack([timestep.action[0], timestep.reward, timestep.first, *timestep.observation])
    return (2.0 + adapted)[None], adapted + jnp.sum(0.0 * seen) + 1.0

  def tells(index):
    def act(params, adapted, timestep, key):
      return jnp.stack([timestep.action[0], timestep.reward, timestep.first])[index][None] - 2.0, adapted

    return run(act, task=endless, num_episodes=2)

  np.testing.assert_array_equal(run(counts, task=endless, num_episodes=2).action[..., 0], [[2, 3, 4, 5, 6, 7]] * 2)
  np.testing.assert_array_equal(tells(0).action[..., 0] + 2.0, [[0.0] + [-1.0] * 5] * 2)
  np.testing.assert_array_equal(tells(2).action[..., 0] + 2.0, [[1.0] + [0.0] * 5] * 2)
  rewarded = tells(1)
  np.testing.assert_allclose(rewarded.action[:, 1:, 0] + 2.0, rewarded.reward[:, :-1], atol=1e-6)


def test_tasks_are_mapped_over():
  floors = {"floor": jnp.array([4.0, -100.0])}
  rollout = make_sampled_rollout(stairs(), noisy)
  keys = jax.random.split(KEY, 2)
  both = jax.jit(jax.vmap(lambda task, key: rollout(3.0, 0.0, task, key, 5)))(floors, keys)
  for index in range(2):
    alone = run(task=jax.tree.map(lambda leaf, index=index: leaf[index], floors), key=keys[index], num_episodes=5)
    jax.tree.map(
      partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
      jax.tree.map(lambda leaf, i=index: leaf[i], both),
      alone,
    )


def test_the_sparse_point_agent_ends_where_it_arrives():
  def towards(params, adapted, timestep, key):
    return jnp.array([0.5, 0.0]), adapted

  family = envs.make("point_rotated_sparse")
  tasks = {"angle": jnp.array([0.0, np.pi])}
  there, away = (
    run(towards, task={"angle": angle}, num_episodes=1, family=family, horizon=5) for angle in tasks["angle"]
  )
  np.testing.assert_array_equal(there.mask[0], [1, 1, 0, 0, 0])
  np.testing.assert_array_equal(there.reward[0], [-1, -1, 0, 0, 0])
  np.testing.assert_allclose(there.next_observation[0, :, 0], [0.25, 0.5, 0, 0, 0], atol=1e-6)
  np.testing.assert_array_equal(away.reward[0], [-1] * 5)


def test_a_body_of_mujoco_is_stepped_with_the_actuated_action():
  """Exchanging the thighs in the motors or in the actions is the same."""
  family = envs.make("cheetah_swapped")
  drawn = jax.random.uniform(KEY, (6,), minval=-2.0, maxval=2.0)
  act = lambda params, adapted, timestep, key: (params, adapted)  # noqa: E731
  exchanged = drawn[jnp.array([3, 1, 2, 0, 4, 5])]
  swapped = run(act, params=drawn, task={"swap": jnp.array(1.0)}, num_episodes=2, family=family, horizon=4)
  plain = run(act, params=exchanged, task={"swap": jnp.array(0.0)}, num_episodes=2, family=family, horizon=4)
  np.testing.assert_allclose(swapped.next_observation, plain.next_observation, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(swapped.reward, plain.reward, rtol=1e-4, atol=1e-4)
  other = run(act, params=drawn, task={"swap": jnp.array(0.0)}, num_episodes=2, family=family, horizon=4)
  assert np.max(np.abs(other.next_observation - swapped.next_observation)) > 0.1
