"""What is collected where: every reward says in which episode it was paid, and every action says which belief acted."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.data.statistics import Statistics, normalise_observation
from macaw_jax.envs import point_robot
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.sources.replay import (
  CollectionSettings,
  collection_order,
  fit_to_episodes,
  ignore,
  make_collector,
  make_rewards,
  replays_for,
)
from macaw_jax.types import Algorithm, Trajectory

pytestmark = pytest.mark.usefixtures("quick_compile")
SETTINGS = CollectionSettings(
  initial_episodes=2,
  tasks_per_iteration=2,
  prior_episodes=2,
  posterior_episodes=2,
  extra_episodes=3,
  context_size=50,
  iterations=5,
)
HORIZON = 4


def walk():
  """A point whose place is its episode's number so far: it moves by its action, and is paid 100 times its task."""
  return TaskFamily(
    name="walk",
    observation_size=1,
    action_size=2,
    horizon=HORIZON,
    tasks={"number": np.arange(4, dtype=np.float32)},
    train_tasks=(1, 2, 3),
    test_tasks=(0,),
    dynamics=AnalyticDynamics(lambda task, state, action: state + action[:1]),
    reset=lambda task, key: jnp.zeros(1),
    observe=lambda task, state: state,
    reward=lambda task, state, action, after: 100.0 * task["number"] + action[0],
    terminal=lambda task, state: jnp.array(False),
  )


def critic_reward(task, state, action, after):
  return -walk().reward(task, state, action, after)


def belief():
  """Acts (belief, kind): a prior draws from [-0.9, -0.1] and is of kind 0; a posterior counts contexts, of kind 1.

  The posterior is (number of different rows in the context) / 100: what was in memory when the belief was made.
  """

  def adapt(params, support, key):
    chex.assert_shape(support.reward, (SETTINGS.context_size,))
    values = jnp.sort(support.reward)
    different = 1 + jnp.sum(jnp.abs(jnp.diff(values)) > 1e-6)
    return {"latent": jnp.stack([different / 100.0, 1.0])}

  def prior(params, key):
    return {"latent": jnp.stack([jax.random.uniform(key, (), minval=-0.9, maxval=-0.1), 0.0])}

  def act(params, task, timestep, key):
    assert key is not None  # a sample, never the mode
    return task["latent"] + params * timestep.first, task

  return Algorithm(lambda key: None, lambda *_: None, adapt, act, prior)


def begun(reward=None):
  collector = make_collector(belief(), walk(), SETTINGS, discount=1.0, critic_reward=reward)
  return collector, collector.begin(0.0, jax.random.key(0))


def rows(replay, position):
  """Actions and rewards of a task, by episode: [E, H, ...]."""
  size = int(replay.size[position])
  return (
    np.asarray(replay.action[position, :size]).reshape(-1, HORIZON, 2),
    np.asarray(replay.rewards[position, :size, 0]).reshape(-1, HORIZON),
  )


def test_the_beginning_is_under_the_prior_for_every_training_task():
  _, beginning = begun()
  assert beginning.environment_steps == 3 * 2 * HORIZON
  beliefs = set()
  for position, number in enumerate(walk().train_tasks):
    for replay in beginning.replays:
      action, reward = rows(replay, position)
      assert len(action) == 2
      assert not np.any(action[..., 1])
      scale = float(beginning.statistics.return_scale)
      np.testing.assert_allclose(reward * scale, 100 * number + action[..., 0], rtol=1e-5)
    # One belief an episode, another for each.
    assert np.all(action == action[:, :1])
    beliefs |= set(action[:, 0, 0])
  assert len(beliefs) == 6


def test_scales_are_those_of_the_first_episodes():
  _, beginning = begun()
  experience, statistics = beginning.replays.experience, beginning.statistics
  standardised = np.concatenate([experience.observation[position, : 2 * HORIZON] for position in range(3)])
  np.testing.assert_allclose(standardised.mean(axis=0), 0.0, atol=1e-5)
  np.testing.assert_allclose(standardised.std(axis=0), 1.0, rtol=1e-4)
  returns = np.concatenate([rows(experience, position)[1] for position in range(3)])[:, ::-1].cumsum(axis=1)
  np.testing.assert_allclose(np.sqrt(np.mean(returns**2)), 1.0, rtol=1e-5)
  assert statistics.return_scale > 100


def test_a_collected_task_has_new_contexts_and_more_experience_and_others_stay():
  collector, beginning = begun()
  before = jax.device_get(beginning.replays)
  collected = collector.collect(0.0, beginning.statistics, beginning.replays, np.array([2, 0]), jax.random.key(1))
  context, experience = jax.device_get(collected.replays)
  np.testing.assert_array_equal(context.size, [4 * HORIZON, 2 * HORIZON, 4 * HORIZON])
  np.testing.assert_array_equal(experience.size, [9 * HORIZON, 2 * HORIZON, 9 * HORIZON])
  assert collected.environment_steps == 2 * 7 * HORIZON
  for position in (2, 0):
    # Two episodes under the prior, two under the posterior; then three extra that no context sees.
    kinds = rows(experience, position)[0][:, 0, 1]
    np.testing.assert_array_equal(kinds, [0, 0, 0, 0, 1, 1, 1, 1, 1])
    in_context = rows(context, position)[0]
    np.testing.assert_array_equal(in_context, rows(experience, position)[0][2:6])
    assert np.all(in_context == in_context[:, :1])  # One belief an episode.
    assert len(set(in_context[:2, 0, 0])) == 2
    # Of nothing but the two new episodes under the prior; of those and the first of the posterior; of all four.
    np.testing.assert_allclose(rows(experience, position)[0][4:, 0, 0], np.array([2, 3, 4, 4, 4]) / 100, rtol=1e-5)
  for ours, theirs in ((context, before.context), (experience, before.experience)):
    np.testing.assert_array_equal(ours.rewards[1], theirs.rewards[1])
  mean = np.mean([rows(experience, position)[1][2:4].sum(axis=1) for position in (2, 0)])
  np.testing.assert_allclose(
    collected.metrics["collect/return_prior"], mean * beginning.statistics.return_scale, rtol=1e-5
  )


def test_a_second_turn_begins_its_contexts_anew():
  collector, beginning = begun()
  replays = beginning.replays
  for turn in range(2):
    replays = collector.collect(0.0, beginning.statistics, replays, np.array([1]), jax.random.key(turn)).replays
  assert int(replays.context.size[1]) == 4 * HORIZON
  assert int(replays.experience.size[1]) == 16 * HORIZON
  np.testing.assert_array_equal(rows(replays.context, 1)[0], rows(replays.experience, 1)[0][9:13])


def test_contexts_and_critic_can_see_different_rewards():
  collector, beginning = begun(critic_reward)
  replays = collector.collect(0.0, beginning.statistics, beginning.replays, np.array([0, 1]), jax.random.key(1)).replays
  for position in range(2):
    kept = rows(replays.context, position)[1]
    assert np.all(kept > 0)
    np.testing.assert_array_equal(rows(replays.experience, position)[1][2:6], -kept)


def test_the_same_key_collects_the_same():
  def replays(seed):
    collector, beginning = begun()
    key = jax.random.key(seed)
    return collector.collect(0.0, beginning.statistics, beginning.replays, np.array([0, 2]), key).replays

  jax.tree.map(np.testing.assert_array_equal, replays(3), replays(3))
  assert not np.array_equal(replays(3).experience.action, replays(4).experience.action)


def test_order_takes_those_with_the_fewest_turns():
  order = collection_order(jax.random.key(0), 3, SETTINGS)
  assert order.shape == (5, 2)
  assert all(len(set(chosen)) == 2 for chosen in order)
  for iteration in range(1, 6):
    turns = np.bincount(order[:iteration].ravel(), minlength=3)
    assert turns.max() - turns.min() <= 1
  assert not np.array_equal(order, collection_order(jax.random.key(1), 3, SETTINGS))


def test_memories_have_room_for_all_turns():
  replays = replays_for(walk(), SETTINGS)
  # Ten turns of three tasks: at most four of one, of seven episodes each.
  assert replays.experience.action.shape == (3, (2 + 4 * 7) * HORIZON, 2)
  assert replays.context.action.shape == (3, 4 * HORIZON, 2)


def test_dense_rewards_in_the_states_of_the_sparse_family():
  sparse = envs.make("point_robot_sparse")
  tasks = {"goal": sparse.tasks["goal"][:3]}
  act = lambda params, task, timestep, key: (10 * (task["goal"] - timestep.observation), task)  # noqa: E731
  trajectory = make_rollout(sparse, act)({}, tasks, tasks, jax.random.key(0))
  dense = make_rewards(point_robot.reward)(tasks, trajectory)
  distance = np.linalg.norm(trajectory.next_observation - tasks["goal"][:, None], axis=-1)
  np.testing.assert_allclose(dense, -distance, atol=1e-5)
  np.testing.assert_allclose(trajectory.reward, np.where(distance <= 0.2, 1 - distance, 0), atol=1e-5)
  assert np.any(distance <= 0.2)


def test_an_entry_that_is_ignored_is_zero_and_the_others_stay():
  statistics = Statistics(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]), np.ones(()))
  seen = normalise_observation(ignore(statistics, (1,)), np.array([[5.0, 1e6, 7.0]]))
  np.testing.assert_array_equal(seen, [[4.0, 0.0, 1.0]])
  assert statistics.observation_std[1] == 2.0


def test_rewards_and_scales_end_with_the_episode():
  family = walk()._replace(terminal=lambda task, state: state[0] < -1.0)
  collector = make_collector(belief(), family, SETTINGS, discount=0.5)
  beginning = collector.begin(0.0, jax.random.key(0))
  sizes = np.asarray(beginning.replays.experience.size)
  assert beginning.environment_steps == sizes.sum() < 3 * 2 * HORIZON
  mask = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
  observation = np.array([[[1.0], [3.0], [77.0]], [[5.0], [7.0], [9.0]]])
  trajectory = Trajectory(observation, np.zeros((2, 3, 1)), observation, mask, None)
  statistics = fit_to_episodes(trajectory, np.array([[2.0, 4.0, 0.0], [0.0, 0.0, 8.0]]), 0.5)
  np.testing.assert_allclose(statistics.observation_mean, 5.0)
  np.testing.assert_allclose(statistics.return_scale, np.sqrt((4**2 + 4**2 + 2**2 + 4**2 + 8**2) / 5))
