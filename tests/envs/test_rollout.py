import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.family import AnalyticDynamics, Physics, TaskFamily
from macaw_jax.envs.rollout import episode_return, make_rollout


def countdown():
  """A number falls by one a step; the episode ends at zero or below. The reward is the number left."""
  return TaskFamily(
    name="countdown",
    observation_size=1,
    action_size=1,
    horizon=6,
    tasks={"start": np.float32([2, 6, 9])},
    train_tasks=(0, 1, 2),
    test_tasks=(0,),
    dynamics=AnalyticDynamics(lambda task, state, action: state - 1),
    reset=lambda task, key: task["start"],
    observe=lambda task, state: state[None],
    reward=lambda task, state, action, next_state: next_state + 10,
    terminal=lambda task, state: state <= 0,
  )


def linear_act(params, task, timestep, key):
  action = jnp.tanh(params @ timestep.observation)
  return (action if key is None else action + 0.3 * jax.random.normal(key, action.shape)), task


def linear_params(family):
  return 0.3 * jax.random.normal(jax.random.key(5), (family.action_size, family.observation_size))


def some_tasks(family, *indices):
  return jax.tree.map(lambda x: x[np.array(indices)], family.tasks)


def assert_trees_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def short_cheetah(horizon=12, **changes):
  return envs.make("cheetah_dir")._replace(horizon=horizon, **changes)


def test_an_episode_ends_where_the_task_says_and_stands_still():
  family = countdown()

  def act(params, task, timestep, key):
    return (timestep.observation * 0 + 0.5, task)

  trajectory = make_rollout(family, act)({}, {}, family.tasks, jax.random.key(0))
  # Started at 2, 6 and 9: two steps, all six of which the last one ends it, and no end.
  np.testing.assert_array_equal(trajectory.mask, [[1, 1, 0, 0, 0, 0], [1] * 6, [1] * 6])
  np.testing.assert_array_equal(trajectory.terminal, [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6])
  np.testing.assert_array_equal(trajectory.state, [[2, 1, 0, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1, 0], [9, 8, 7, 6, 5, 4, 3]])
  np.testing.assert_array_equal(trajectory.observation[..., 0], trajectory.state[:, :-1] * trajectory.mask)
  np.testing.assert_array_equal(trajectory.next_observation[..., 0], trajectory.state[:, 1:] * trajectory.mask)
  np.testing.assert_array_equal(trajectory.action[..., 0], 0.5 * trajectory.mask)
  np.testing.assert_array_equal(trajectory.reward[0], [11, 10, 0, 0, 0, 0])
  np.testing.assert_array_equal(episode_return(trajectory), [21, 75, 93])


def test_a_native_episode_ends_where_the_task_says():
  whole_family = short_cheetah()
  ending_family = short_cheetah(terminal=lambda task, state: state.qpos[1] < -0.04)
  whole, ended = (
    make_rollout(family, linear_act)(linear_params(family), {}, some_tasks(family, 0, 1, 0, 1), jax.random.key(0))
    for family in (whole_family, ending_family)
  )
  ends = [np.flatnonzero(heights < -0.04)[0] for heights in whole.state.qpos[:, 1:, 1]]  # index of the ending step
  assert len(set(ends)) > 1
  np.testing.assert_array_equal(np.sum(ended.mask, axis=1), np.array(ends) + 1)
  for i, end in enumerate(ends):
    assert ended.terminal[i, end] == 1
    assert np.sum(ended.terminal[i]) == 1
    np.testing.assert_array_equal(ended.reward[i, : end + 1], whole.reward[i, : end + 1])
    assert not np.any(ended.reward[i, end + 1 :])
    for ended_rows, whole_rows in (
      (ended.observation, whole.observation),
      (ended.next_observation, whole.next_observation),
    ):
      np.testing.assert_array_equal(ended_rows[i, : end + 1], whole_rows[i, : end + 1])
      assert not np.any(ended_rows[i, end + 1 :])
    np.testing.assert_array_equal(ended.state.qpos[i, end + 1 :], np.tile(whole.state.qpos[i, end + 1], (12 - end, 1)))


def test_point_robot_against_a_loop_by_hand():
  family = envs.make("point_robot")

  def act(params, task, timestep, key):
    return (params - 2 * timestep.observation, task)

  trajectory = make_rollout(family, act)(jnp.float32([1.0, 0.5]), {}, some_tasks(family, 3, 90), jax.random.key(2))
  assert trajectory.observation.shape == (2, 20, 2)
  assert trajectory.state.shape == (2, 21, 2)
  for i, index in enumerate((3, 90)):
    position = np.float64(trajectory.observation[i, 0])
    for t in range(20):
      action = np.clip(np.array([1.0, 0.5]) - 2 * position, -1, 1)
      np.testing.assert_allclose(trajectory.action[i, t], action, atol=1e-5)
      position = position + 0.1 * action
      np.testing.assert_allclose(trajectory.next_observation[i, t], position, atol=1e-5)
      distance = np.linalg.norm(position - family.tasks["goal"][index])
      np.testing.assert_allclose(trajectory.reward[i, t], -distance, atol=1e-5)
  assert np.all(trajectory.mask == 1)


def test_cheetah_rewards_and_observations_follow_its_states():
  family = envs.make("cheetah_vel")._replace(horizon=30)
  trajectory = make_rollout(family, linear_act)(linear_params(family), {}, some_tasks(family, 2, 39), jax.random.key(1))
  x = trajectory.state.qpos[..., 0]
  assert x.dtype == np.float64
  velocity = np.diff(x, axis=1) / 0.05
  wanted = np.array([[0.225], [3.0]])
  cost = 0.05 * np.sum(np.float64(trajectory.action) ** 2, axis=-1)
  np.testing.assert_allclose(trajectory.reward, -np.abs(velocity - wanted) - cost, atol=2e-6)
  for seen, steps in ((trajectory.observation, slice(-1)), (trajectory.next_observation, slice(1, None))):
    state = jax.tree.map(lambda leaf, steps=steps: leaf[:, steps], trajectory.state)
    np.testing.assert_allclose(seen[..., :8], state.qpos[..., 1:], atol=1e-6)
    np.testing.assert_allclose(seen[..., 8:17], state.qvel, rtol=1e-6)
    np.testing.assert_allclose(seen[..., 19], 0.7 + state.qpos[..., 1], atol=1e-6)
  # The first action is the policy's at the first observation.
  first_action = np.tanh(np.float64(trajectory.observation[:, 0]) @ np.float64(linear_params(family)).T)
  np.testing.assert_allclose(trajectory.action[:, 0], first_action, atol=1e-5)


def test_reward_is_accurate_far_from_the_start():
  # At 2000 m a float32 position is rounded to 1.2e-4 m, which is 2.4e-3 m/s.
  near = envs.make("cheetah_dir").reset
  family = short_cheetah(reset=lambda task, key: near(task, key)._replace(qpos=near(task, key).qpos.at[0].set(2000.0)))

  def act(params, task, timestep, key):
    return (jnp.full(6, 0.1), task)

  trajectory = make_rollout(family, act)({}, {}, some_tasks(family, 0, 1), jax.random.key(1))
  velocity = np.diff(trajectory.state.qpos[..., 0], axis=1) / 0.05
  expected = np.array([[1.0], [-1.0]]) * velocity - 0.05 * 6 * 0.01
  assert np.max(np.abs(velocity)) > 0.1
  np.testing.assert_allclose(trajectory.reward, expected, atol=1e-5)


@pytest.mark.parametrize("family", [short_cheetah(), envs.make("point_robot")], ids=lambda family: family.name)
class TestEveryBackEnd:
  def test_the_key_decides(self, family):
    rollout = make_rollout(family, linear_act)
    tasks = some_tasks(family, 0, 0, 1)

    def run(seed, **kwargs):
      return rollout(linear_params(family), {}, tasks, jax.random.key(seed), **kwargs)

    first = run(0, deterministic=False)
    assert_trees_equal(first, run(0, deterministic=False))
    other, mode = run(1, deterministic=False), run(0)
    assert not np.array_equal(first.observation[:, 0], other.observation[:, 0])
    assert not np.array_equal(first.observation[0, 0], first.observation[1, 0])
    # The same starts, other actions; the noise differs from step to step and between episodes.
    np.testing.assert_array_equal(first.observation[:, 0], mode.observation[:, 0])
    noise = first.action[:, 0] - mode.action[:, 0]
    assert np.all(np.abs(noise) > 0)
    assert len(np.unique(noise)) == noise.size

  def test_an_episode_does_not_depend_on_its_neighbours(self, family):
    # Actions are noise alone: a matrix product may round differently for another number of rows.
    def act(params, task, timestep, key):
      return (0.5 * jax.random.normal(key, (family.action_size,)), task)

    rollout = make_rollout(family, act)
    three = rollout({}, {}, some_tasks(family, 0, 1, 0), jax.random.key(3), deterministic=False)
    two = rollout({}, {}, some_tasks(family, 0, 1), jax.random.key(3), deterministic=False)
    assert len(np.unique(three.action)) > three.action.size / 2
    assert_trees_equal(jax.tree.map(lambda x: x[:2], three), two)

  def test_noise_is_new_at_every_step(self, family):
    def act(params, task, timestep, key):
      return (jax.random.uniform(key, (family.action_size,)), task)

    action = make_rollout(family, act)({}, {}, some_tasks(family, 0, 1), jax.random.key(3), deterministic=False).action
    assert len(np.unique(action)) == action.size

  def test_actions_are_clipped_and_adapted_parts_belong_to_their_episode(self, family):
    def act(params, task, timestep, key):
      return (jnp.full(family.action_size, params * task["level"]), task)

    adapted = {"level": jnp.float32([0.25, 2.0, -9.0])}
    trajectory = make_rollout(family, act)(2.0, adapted, some_tasks(family, 0, 1, 0), jax.random.key(0))
    np.testing.assert_array_equal(trajectory.action[:, :, 0], [[x] * family.horizon for x in (0.5, 1, -1)])

  def test_the_agent_sees_the_step_before(self, family):
    def act(params, task, timestep, key):
      count = task["count"]  # A carry: it counts the steps.
      shown = (
        jnp.zeros(family.action_size).at[0].set(timestep.reward / 20).at[1].set(0.01 * count + 0.5 * timestep.first)
      )
      return shown.at[-1].add(0.001 + timestep.action[-1] / 2), {"count": count + 1}

    carry = {"count": jnp.zeros(2)}
    trajectory = make_rollout(family, act)({}, carry, some_tasks(family, 0, 1), jax.random.key(0))
    action, reward = trajectory.action, trajectory.reward
    np.testing.assert_array_equal(action[:, 0, 0], 0)
    np.testing.assert_allclose(action[:, 1:, 0], reward[:, :-1] / 20, atol=1e-5)
    if family.action_size > 2:
      np.testing.assert_allclose(action[:, :, 1], [[0.5, *(0.01 * np.arange(1, family.horizon))]] * 2, atol=1e-6)
      np.testing.assert_allclose(
        action[:, :, -1], [0.002 * (1 - 0.5 ** np.arange(1, family.horizon + 1))] * 2, atol=1e-6
      )

  def test_one_trace_serves_many_calls(self, family):
    traces = []

    def act(params, task, timestep, key):
      traces.append(1)
      return linear_act(params, task, timestep, key)

    rollout = make_rollout(family, act)

    def run(seed, *indices, **kwargs):
      return rollout(linear_params(family) + seed, {}, some_tasks(family, *indices), jax.random.key(seed), **kwargs)

    run(0, 0, 1)
    run(0, 0, 1, deterministic=False)
    traced = len(traces)
    for seed in range(1, 4):
      run(seed, 1, 0)
      run(seed, 1, 1, deterministic=False)
    assert len(traces) == traced
    assert traced <= 8  # not once a step


def test_a_mode_policy_gets_no_key_and_a_sampling_one_does():
  family = envs.make("point_robot")
  seen = []

  def act(params, task, timestep, key):
    seen.append(key is None)
    return jnp.zeros(2), task

  rollout = make_rollout(family, act)
  rollout({}, {}, some_tasks(family, 0), jax.random.key(0), deterministic=True)
  assert seen
  assert all(seen)
  seen.clear()
  rollout({}, {}, some_tasks(family, 0), jax.random.key(0), deterministic=False)
  assert seen
  assert not any(seen)


def test_native_states_are_physics_of_the_whole_episode():
  family = short_cheetah(horizon=3)

  def act(params, task, timestep, key):
    return (jnp.zeros(6), task)

  trajectory = make_rollout(family, act)({}, {}, some_tasks(family, 0, 1), jax.random.key(0))
  assert isinstance(trajectory.state, Physics)
  assert trajectory.state.qpos.shape == trajectory.state.qvel.shape == (2, 4, 9)
  assert trajectory.observation.dtype == trajectory.reward.dtype == np.float32


def test_a_compiled_rollout_of_an_analytic_family_actuates_once():
  family = envs.make("point_robot_sparse")._replace(actuate=lambda task, action: -action, horizon=2)
  trajectory = make_rollout(family, lambda *_: (jnp.array([1.0, 3.0]), {}))(
    {}, {}, jax.tree.map(lambda x: x[:1], family.tasks), jax.random.key(0)
  )
  np.testing.assert_allclose(trajectory.state[0], [[0, 0], [-0.1, -0.1], [-0.2, -0.2]], atol=1e-6)
  np.testing.assert_array_equal(trajectory.action[0], np.ones((2, 2)))
