import math
from functools import partial

import jax
import mujoco
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.collection.acting import uniform_act
from macaw_jax.envs import cheetah, point_robot
from macaw_jax.envs.family import MujocoDynamics, Physics
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.envs.rollout import make_rollout


def task(family, index):
  return jax.tree.map(lambda x: x[index], family.tasks)


def start(family, one_task):
  """A start of one episode, with what its engine derives."""
  state = family.reset(one_task, jax.random.key(0))
  if not isinstance(family.dynamics, MujocoDynamics):
    return state
  simulator = NativeSimulator(family.dynamics, num_threads=0)
  states = simulator.start(
    simulator.models(jax.tree.map(lambda x: x[None], one_task)), jax.tree.map(lambda x: x[None], state)
  )
  return jax.tree.map(lambda x: x[0], states)


def test_make_knows_the_families_by_name():
  for name in ("cheetah_dir", "cheetah_vel", "point_robot"):
    assert envs.make(name).name == name
  with pytest.raises(ValueError, match=r"'cheetah_jump'.*cheetah_dir"):
    envs.make("cheetah_jump")


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_sizes_and_split_agree_with_the_functions(name):
  family = envs.make(name)
  num_tasks = len(jax.tree.leaves(family.tasks)[0])
  assert set(family.train_tasks) | set(family.test_tasks) <= set(range(num_tasks))
  one = task(family, family.test_tasks[0])
  state = start(family, one)
  assert family.observe(one, state).shape == (family.observation_size,)
  assert family.reward(one, state, np.zeros(family.action_size), state).shape == ()
  assert not family.terminal(one, state)


@pytest.mark.parametrize("name", sorted(name for name in envs.FAMILIES if envs.make(name).state_of is not None))
def test_the_state_of_an_observation_looks_like_it_and_is_rewarded_alike(name):
  """Along an episode of random actions, in the first and in the last task."""
  family = envs.make(name)
  rollout = make_rollout(family, partial(uniform_act, action_size=family.action_size))
  tasks = jax.tree.map(lambda leaf: leaf[np.array([0, -1])], family.tasks)
  episode = rollout({}, {}, tasks, jax.random.key(0), deterministic=False)

  def seen_and_rewarded(task, observation, action, following):
    before, after = family.state_of(task, observation), family.state_of(task, following)
    return family.observe(task, before), family.reward(task, before, action, after)

  over_steps = jax.vmap(seen_and_rewarded, (None, 0, 0, 0))
  seen, rewarded = jax.jit(jax.vmap(over_steps))(tasks, episode.observation, episode.action, episode.next_observation)
  runs = np.asarray(episode.mask) > 0.0
  np.testing.assert_allclose(seen[runs], episode.observation[runs], atol=1e-6)
  np.testing.assert_allclose(rewarded[runs], episode.reward[runs], atol=2e-4)


def test_which_observations_determine_their_states():
  known = {name for name in envs.FAMILIES if envs.make(name).state_of is not None}
  points = {
    "point_robot",
    "point_robot_origin",
    "point_robot_sparse",
    "point_robot_wind",
    "point_rotated",
    "point_rotated_sparse",
  }
  assert known == points | {"cheetah_dir", "cheetah_vel", "ant_goal", "maze", "maze_8"}


@pytest.mark.parametrize(("name", "entries"), [("point_robot", 2), ("cheetah_vel", 1), ("maze", 42)])
def test_a_task_has_as_many_entries_as_its_leaves_together(name, entries):
  family = envs.make(name)
  assert family.task_entries == sum(np.size(leaf) for leaf in jax.tree.leaves(task(family, 0))) == entries


class TestHalfCheetahModel:
  model = mujoco.MjModel.from_xml_path(cheetah.XML_PATH)

  def test_time_and_controls(self):
    assert self.model.opt.timestep * cheetah.FRAME_SKIP == pytest.approx(cheetah.CONTROL_SECONDS)
    assert (self.model.nq, self.model.nv, self.model.nu) == (9, 9, 6)
    np.testing.assert_array_equal(self.model.actuator_gear[:, 0], [120, 90, 60, 120, 60, 30])
    np.testing.assert_array_equal(self.model.actuator_ctrlrange, [[-1, 1]] * 6)

  def test_mass_is_fourteen_shared_by_capsule_volume(self):
    # Length of the cylinder between the two half balls; every radius is 0.046 m.
    lengths = [[1.0, 0.3], [0.29], [0.3], [0.188], [0.266], [0.212], [0.14]]
    radius = 0.046
    volumes = np.array([sum(math.pi * radius**2 * x + 4 / 3 * math.pi * radius**3 for x in body) for body in lengths])
    np.testing.assert_allclose(self.model.body_mass[1:], 14 * volumes / volumes.sum(), rtol=1e-12)

  def test_joints(self):
    np.testing.assert_array_equal(self.model.jnt_stiffness, [0, 0, 0, 240, 180, 120, 180, 120, 60])
    np.testing.assert_array_equal(self.model.dof_damping, [0, 0, 0, 6, 4.5, 3, 4.5, 3, 1.5])
    np.testing.assert_array_equal(self.model.dof_armature, [0] * 3 + [0.1] * 6)
    np.testing.assert_array_equal(self.model.jnt_limited, [0] * 3 + [1] * 6)
    ranges = [[-0.52, 1.05], [-0.785, 0.785], [-0.4, 0.785], [-1, 0.7], [-1.2, 0.87], [-0.5, 0.5]]
    np.testing.assert_array_equal(self.model.jnt_range[3:], ranges)

  def test_only_the_floor_is_touched(self):
    floor = self.model.geom("ground").id
    body = np.arange(self.model.ngeom) != floor
    assert not np.any(self.model.geom_conaffinity[body])
    assert np.all(self.model.geom_contype[body] & self.model.geom_conaffinity[floor])
    np.testing.assert_array_equal(self.model.geom_friction[:], [[0.4, 0.1, 0.1]] * self.model.ngeom)

  def test_torso_position_of_the_observation_is_the_simulators(self):
    data = mujoco.MjData(self.model)
    data.qpos[:] = np.linspace(0.3, -0.2, 9)
    mujoco.mj_kinematics(self.model, data)
    observation = cheetah.observe({}, Physics(np.float32(data.qpos), np.float32(data.qvel)))
    np.testing.assert_allclose(observation[17:], data.body("torso").xpos, atol=1e-6)


def test_cheetah_observation_is_qpos_without_x_then_qvel_then_torso():
  qpos, qvel = np.arange(1.0, 10.0, dtype=np.float32), np.arange(11.0, 20.0, dtype=np.float32)
  observation = cheetah.observe({}, Physics(qpos, qvel))
  expected = [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 1, 0, 2.7]
  np.testing.assert_allclose(observation, expected, rtol=1e-6)


def test_cheetah_rewards_by_hand():
  # 0.1 m forward in 0.05 s is 2 m/s; the action costs 0.05 * 6 * 0.25 = 0.075.
  before, after = (Physics(np.float32([x] + [0] * 8), np.zeros(9, np.float32)) for x in (1.0, 1.1))
  action = np.full(6, -0.5, np.float32)
  directions, velocities = envs.make("cheetah_dir"), envs.make("cheetah_vel")
  assert directions.reward(task(directions, 0), before, action, after) == pytest.approx(1.925, abs=1e-5)
  assert directions.reward(task(directions, 1), before, action, after) == pytest.approx(-2.075, abs=1e-5)
  assert velocities.reward(task(velocities, 7), before, action, after) == pytest.approx(-1.475, abs=1e-5)
  assert velocities.reward(task(velocities, 39), before, action, after) == pytest.approx(-1.075, abs=1e-5)


def test_cheetah_tasks_and_split():
  directions, velocities = envs.make("cheetah_dir"), envs.make("cheetah_vel")
  np.testing.assert_array_equal(directions.tasks["direction"], [1, -1])
  assert directions.train_tasks == directions.test_tasks == (0, 1)
  speeds = velocities.tasks["velocity"]
  np.testing.assert_allclose(speeds[list(velocities.test_tasks)], [0.225, 0.6, 1.2, 1.8, 2.025], rtol=1e-6)
  np.testing.assert_allclose(speeds[[0, 39]], [0.075, 3.0], rtol=1e-6)
  assert len(velocities.train_tasks) == 35
  assert not set(velocities.train_tasks) & set(velocities.test_tasks)


def test_cheetah_reset_noise():
  states = jax.vmap(lambda key: cheetah.reset({}, key))(jax.random.split(jax.random.key(0), 4000))
  assert np.max(np.abs(states.qpos)) <= 0.1
  assert np.min(np.max(np.abs(states.qpos), axis=0)) > 0.099  # every coordinate reaches the edges
  # 36000 draws: five standard errors of the mean and of the deviation.
  np.testing.assert_allclose(np.mean(states.qpos), 0, atol=0.0016)
  np.testing.assert_allclose(np.std(states.qpos), 0.1 / math.sqrt(3), rtol=0.02)
  np.testing.assert_allclose(np.mean(states.qvel), 0, atol=0.0027)
  np.testing.assert_allclose(np.std(states.qvel), 0.1, rtol=0.02)
  assert np.max(np.abs(states.qvel)) > 0.3  # normal, not cut


def test_point_robot_moves_a_tenth_of_its_action_and_is_paid_the_distance():
  goal = {"goal": np.float32([0.4, 0.5])}
  after = point_robot.step(goal, np.float32([0.0, 0.3]), np.float32([1.0, -1.0]))
  np.testing.assert_allclose(after, [0.1, 0.2], atol=1e-7)
  # From (0.1, 0.2) to (0.4, 0.5).
  assert point_robot.reward(goal, None, None, after) == pytest.approx(-0.3 * math.sqrt(2), abs=1e-6)


def test_point_robot_tasks_and_starts():
  family = envs.make("point_robot")
  assert (family.horizon, len(family.train_tasks), len(family.test_tasks)) == (20, 80, 20)
  random = np.random.RandomState(1337)
  goals = [[random.uniform(-1, 1), random.uniform(-1, 1)] for _ in range(100)]
  np.testing.assert_allclose(family.tasks["goal"], goals, atol=1e-7)
  starts = jax.vmap(lambda key: family.reset({}, key))(jax.random.split(jax.random.key(0), 2000))
  assert np.max(np.abs(starts)) <= 1
  np.testing.assert_allclose(np.std(starts, axis=0), 1 / math.sqrt(3), rtol=0.05)
