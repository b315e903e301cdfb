import math

import jax
import mujoco
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs import ant
from macaw_jax.envs.family import Physics

MODEL = mujoco.MjModel.from_xml_path(ant.XML_PATH)


def physics(x=0.0, y=0.0, z=0.75, contact=None):
  qpos = np.array([x, y, z, 1] + [0.1 * i for i in range(11)], np.float32)
  forces = np.zeros((14, 6), np.float32)
  for (body, entry), value in (contact or {}).items():
    forces[body, entry] = value
  return Physics(qpos, np.arange(14, dtype=np.float32), {"cfrc_ext": forces})


class TestAntModel:
  def test_time_and_controls(self):
    assert MODEL.opt.timestep * ant.FRAME_SKIP == pytest.approx(ant.CONTROL_SECONDS)
    assert mujoco.mjtIntegrator(MODEL.opt.integrator) == mujoco.mjtIntegrator.mjINT_RK4
    assert (MODEL.nq, MODEL.nv, MODEL.nu, MODEL.nbody) == (15, 14, 8, 14)
    np.testing.assert_array_equal(MODEL.actuator_gear[:, 0], [150] * 8)
    np.testing.assert_array_equal(MODEL.actuator_ctrlrange, [[-1, 1]] * 8)
    # The motors begin with the last leg, the joints with the first.
    np.testing.assert_array_equal(MODEL.actuator_trnid[:, 0], [7, 8, 1, 2, 3, 4, 5, 6])

  def test_masses_by_volume(self):
    def capsule(length):
      return math.pi * 0.08**2 * length + 4 / 3 * math.pi * 0.08**3

    short, long = 5 * capsule(0.2 * math.sqrt(2)), 5 * capsule(0.4 * math.sqrt(2))
    expected = [5 * 4 / 3 * math.pi * 0.25**3, *[short, short, long] * 4]
    np.testing.assert_allclose(MODEL.body_mass[1:], expected, rtol=1e-12)

  def test_joints(self):
    ankles = [[30, 70], [-70, -30], [-70, -30], [30, 70]]
    ranges = [limits for ankle in ankles for limits in ([-30, 30], ankle)]
    np.testing.assert_allclose(np.degrees(MODEL.jnt_range[1:]), ranges, rtol=1e-12)
    np.testing.assert_array_equal(MODEL.jnt_limited, [0] + [1] * 8)
    np.testing.assert_array_equal(MODEL.dof_armature, [0] * 6 + [1] * 8)
    np.testing.assert_array_equal(MODEL.dof_damping, [0] * 6 + [1] * 8)

  def test_only_the_floor_is_touched(self):
    body = np.arange(MODEL.ngeom) != MODEL.geom("ground").id
    assert not np.any(MODEL.geom_conaffinity[body])
    assert MODEL.geom_conaffinity[~body] == 1
    np.testing.assert_array_equal(MODEL.geom_friction, [[1, 0.5, 0.5]] * MODEL.ngeom)


def test_observations():
  state = physics(x=7, y=8, z=0.5, contact={(3, 2): 5.0, (13, 5): -0.25})
  observation = np.asarray(ant.observe({}, state))
  np.testing.assert_allclose(observation, [0.5, 1, *(0.1 * np.arange(11)), *range(14)], rtol=1e-6)
  observation = np.asarray(ant.observe_with_contacts({}, state))
  np.testing.assert_allclose(observation[:3], [7, 8, 0.5])
  contacts = observation[29:].reshape(14, 6)
  assert contacts[3, 2] == 1.0  # cut
  assert contacts[13, 5] == -0.25
  assert np.count_nonzero(contacts) == 2


def test_rewards_by_hand():
  # (0.1, 0.2) m in 0.05 s is (2, 4) m/s; the action costs 8 * 0.25 times its weight; contacts 0.0005 * (1 + 0.25).
  before, after = physics(), physics(x=0.1, y=0.2, contact={(3, 2): 5.0, (13, 5): -0.5})
  action = np.full(8, 0.5, np.float32)
  north = {"direction_angle": np.float32(math.pi / 2)}
  contact = 0.0005 * 1.25
  assert ant.direction_reward(north, before, action, after) == pytest.approx(4 - 1 - contact + 1, abs=1e-5)
  assert ant.progress({"direction_angle": np.float32(math.pi)}, before, action, after) == pytest.approx(-2, abs=1e-5)
  goal = {"goal": np.float32([1.1, -0.8])}
  assert ant.goal_reward(goal, before, action, after) == pytest.approx(-2 - 0.2 - contact, abs=1e-5)


@pytest.mark.parametrize(("height", "end"), [(0.19, True), (0.21, False), (0.99, False), (1.01, True), (np.nan, True)])
def test_the_end_is_a_torso_too_low_or_too_high(height, end):
  for name, ends in (("ant_dir", True), ("ant_dir_forward", False), ("ant_goal", False)):
    assert bool(envs.make(name).terminal({}, physics(z=height))) == (end and ends)


def test_starts_are_near_upright_with_a_unit_quaternion():
  states = jax.vmap(lambda key: ant.reset({}, key))(jax.random.split(jax.random.key(0), 1000))
  np.testing.assert_allclose(np.linalg.norm(states.qpos[:, 3:7], axis=1), 1, rtol=1e-6)
  others = np.delete(np.asarray(states.qpos), slice(3, 7), axis=1) - np.delete(ant.UPRIGHT, slice(3, 7))
  assert 0.099 < np.max(np.abs(others)) <= 0.1
  np.testing.assert_allclose(np.std(states.qvel), 0.1, rtol=0.03)


def test_tasks_and_splits():
  directions, forward, goals = (envs.make(name) for name in ("ant_dir", "ant_dir_forward", "ant_goal"))
  np.testing.assert_array_equal(directions.tasks["direction_angle"], forward.tasks["direction_angle"])
  angles = directions.tasks["direction_angle"]
  assert 0 <= angles.min() <= angles.max() < 2 * math.pi
  assert (len(directions.train_tasks), directions.test_tasks) == (45, (6, 17, 23, 30, 41))
  assert angles[list(directions.extrapolation.train)].max() < 1.5 * math.pi
  assert angles[list(directions.extrapolation.test)].min() >= 1.5 * math.pi
  radius = np.linalg.norm(goals.tasks["goal"], axis=1)
  assert radius.max() <= 3.0
  np.testing.assert_allclose(np.mean(radius**2), 4.5, rtol=0.1)  # uniform in the disc
  assert (len(goals.train_tasks), len(goals.test_tasks)) == (150, 30)
  assert radius[list(goals.extrapolation.train)].max() <= radius[list(goals.extrapolation.test)].min()
