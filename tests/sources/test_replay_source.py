"""What is collected where: every reward says in which episode it was paid, and every action says which belief acted."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax import envs
from macaw_jax.data.statistics import Statistics, normalise_observation
from macaw_jax.envs import point_robot
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.sources.replay import (
  CollectionSettings,
  fit_to_episodes,
  ignore,
  make_rewards,
  next_tasks,
  replayed,
  replays_for,
)
from macaw_jax.types import Algorithm, Trajectory

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

  The posterior is (number of different rows in the context) / 100: what was in the buffer when the belief was made.
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


def begun(reward=None, seed=0, **changes):
  """A source, and its data before the first update."""
  family = walk()._replace(**changes)
  source = replayed(belief(), family, SETTINGS, discount=1.0, tasks_per_update=3, batch_size=8, critic_reward=reward)
  return source, source.init(0.0, jax.random.key(seed))


def refreshed(source, data, seed=0):
  """The data after an iteration, the positions of the tasks that were collected for, and its metrics."""
  turns = np.asarray(data.turns)
  data, metrics = source.refresh(0.0, data, jax.random.key(seed))
  return data, np.flatnonzero(np.asarray(data.turns) > turns), metrics


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
  source, beginning = begun()
  before, statistics = jax.device_get((beginning.replays, beginning.statistics))
  collected, positions, metrics = refreshed(source, beginning)
  context, experience = jax.device_get(collected.replays)
  assert len(positions) == 2
  (other,) = {0, 1, 2} - set(positions)
  assert all(context.size[position] == 4 * HORIZON for position in positions)
  assert all(experience.size[position] == 9 * HORIZON for position in positions)
  assert context.size[other] == experience.size[other] == 2 * HORIZON
  assert collected.environment_steps == metrics["environment_steps"] == (3 * 2 + 2 * 7) * HORIZON
  for position in positions:
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
    np.testing.assert_array_equal(ours.rewards[other], theirs.rewards[other])
  mean = np.mean([rows(experience, position)[1][2:4].sum(axis=1) for position in positions])
  np.testing.assert_allclose(metrics["collect/return_prior"], mean * statistics.return_scale, rtol=1e-5)


def test_a_second_turn_begins_its_contexts_anew():
  source, data = begun()
  for _ in range(3):  # Two turns of each of three tasks.
    data, _, _ = refreshed(source, data)
  np.testing.assert_array_equal(data.turns, [2, 2, 2])
  for position in range(3):
    assert int(data.replays.context.size[position]) == 4 * HORIZON
    assert int(data.replays.experience.size[position]) == 16 * HORIZON
    found = rows(data.replays.context, position)[0]
    np.testing.assert_array_equal(found, rows(data.replays.experience, position)[0][9:13])


def test_contexts_and_critic_can_see_different_rewards():
  source, beginning = begun(critic_reward)
  data, positions, _ = refreshed(source, beginning)
  for position in positions:
    kept = rows(data.replays.context, position)[1]
    assert np.all(kept > 0)
    np.testing.assert_array_equal(rows(data.replays.experience, position)[1][2:6], -kept)


def test_the_same_key_collects_the_same():
  def collected(seed):
    source, beginning = begun(seed=seed)
    return refreshed(source, beginning, seed)[0]

  jax.tree.map(np.testing.assert_array_equal, collected(3), collected(3))
  assert not np.array_equal(collected(3).replays.experience.action, collected(4).replays.experience.action)


def test_data_have_the_shapes_of_empty_ones():
  source, beginning = begun()
  shapes = lambda data: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), data)  # noqa: E731
  assert shapes(beginning) == shapes(source.empty())
  assert shapes(refreshed(source, beginning)[0]) == shapes(source.empty())
  assert source.statistics(source.empty()).return_scale == 1.0


def test_a_batch_has_contexts_beside_experience():
  source, beginning = begun()
  batch = source.sample(beginning, jax.random.key(0))
  assert batch.support.reward.shape == (3, SETTINGS.context_size)
  assert batch.query.reward.shape == (3, 8)
  assert set(np.asarray(batch.task_index)) <= {0, 1, 2}
  assert source.task_names == (1, 2, 3)


def test_next_are_those_with_the_fewest_turns():
  turns = np.zeros(3, np.int32)
  for iteration in range(6):
    chosen = next_tasks(jax.random.key(iteration), turns, 2)
    assert len(set(chosen)) == 2
    turns[chosen] += 1
    assert turns.max() - turns.min() <= 1
  ties = {tuple(next_tasks(jax.random.key(seed), np.zeros(5), 2)) for seed in range(10)}
  assert len(ties) > 3


def test_buffers_have_room_for_all_turns():
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
  _, beginning = begun(terminal=lambda task, state: state[0] < -1.0)
  sizes = np.asarray(beginning.replays.experience.size)
  assert beginning.environment_steps == sizes.sum() < 3 * 2 * HORIZON
  mask = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
  observation = np.array([[[1.0], [3.0], [77.0]], [[5.0], [7.0], [9.0]]])
  trajectory = Trajectory(observation, np.zeros((2, 3, 1)), observation, mask, None)
  statistics = fit_to_episodes(trajectory, np.array([[2.0, 4.0, 0.0], [0.0, 0.0, 8.0]]), 0.5)
  np.testing.assert_allclose(statistics.observation_mean, 5.0)
  np.testing.assert_allclose(statistics.return_scale, np.sqrt((4**2 + 4**2 + 2**2 + 4**2 + 8**2) / 5))
