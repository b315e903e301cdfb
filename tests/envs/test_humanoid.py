import math

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs import humanoid
from macaw_jax.envs.family import Physics
from macaw_jax.envs.mjx_engine import on_mjx
from macaw_jax.envs.native import NativeSimulator

FAMILY = envs.make("humanoid_dir")
EAST, NORTH = ({"direction_angle": np.float32(angle)} for angle in (0.0, math.pi / 2))
MODEL = mujoco.MjModel.from_xml_path(humanoid.XML_PATH)


def capsule(radius, length):
  return math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3


def ball(radius):
  return 4 / 3 * math.pi * radius**3


class TestHumanoidModel:
  def test_time_and_controls(self):
    assert MODEL.opt.timestep == humanoid.PHYSICS_SECONDS
    assert (MODEL.nq, MODEL.nv, MODEL.nu, MODEL.nbody) == (24, 23, 17, 14)
    assert mujoco.mjtIntegrator(MODEL.opt.integrator) == mujoco.mjtIntegrator.mjINT_RK4
    assert mujoco.mjtSolver(MODEL.opt.solver) == mujoco.mjtSolver.mjSOL_NEWTON
    published = [100] * 5 + [300, 200] + [100] * 2 + [300, 200] + [25] * 6  # for controls in [-0.4, 0.4]
    np.testing.assert_allclose(MODEL.actuator_gear[:, 0], 0.4 * np.array(published), rtol=1e-12)
    np.testing.assert_array_equal(MODEL.actuator_ctrlrange, [[-1, 1]] * 17)

  def test_mass_is_water_by_volume(self):
    arm, forearm = capsule(0.04, 0.16 * math.sqrt(3)), capsule(0.031, 0.16 * math.sqrt(3)) + ball(0.04)
    leg = [capsule(0.06, math.hypot(0.01, 0.34)), capsule(0.049, 0.3), ball(0.075)]
    volumes = [capsule(0.07, 0.14) + ball(0.09) + capsule(0.06, 0.12), capsule(0.06, 0.12), capsule(0.09, 0.14)]
    volumes += [*leg, *leg, arm, forearm, arm, forearm]
    np.testing.assert_allclose(MODEL.body_mass[1:], 1000 * np.array(volumes), rtol=1e-12)

  def test_joints(self):
    np.testing.assert_array_equal(MODEL.jnt_stiffness, [0, 20, 10, 10, 10, 10, 20, 0, 10, 10, 20, 1, 1, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(MODEL.dof_damping, [0] * 6 + [5] * 6 + [1] + [5] * 3 + [1] * 7)
    waist, right_leg, left_leg, arm = (
      [0.02] * 3,
      [0.01, 0.01, 0.008, 0.006],
      [0.01] * 3 + [0.006],
      [0.0068, 0.0051, 0.0028],
    )
    np.testing.assert_array_equal(MODEL.dof_armature, [0] * 6 + waist + right_leg + left_leg + 2 * arm)
    leg = [[-25, 5], [-60, 35], [-110, 20], [-160, -2]]
    right_arm, left_arm = [[-85, 60]] * 2 + [[-90, 50]], [[-60, 85]] * 2 + [[-90, 50]]
    ranges = [[-45, 45], [-75, 30], [-35, 35], *leg, *leg, *right_arm, *left_arm]
    np.testing.assert_allclose(np.degrees(MODEL.jnt_range[1:]), ranges, rtol=1e-12)
    np.testing.assert_array_equal(MODEL.jnt_limited, [0] + [1] * 17)

  def test_everything_is_touched_and_the_floor_adds_friction(self):
    floor = MODEL.geom("ground").id
    assert np.all(MODEL.geom_contype == 1)
    assert np.all(MODEL.geom_conaffinity == 1)
    np.testing.assert_array_equal(MODEL.geom_condim, np.where(np.arange(MODEL.ngeom) == floor, 3, 1))
    np.testing.assert_array_equal(MODEL.geom_friction[floor], [1, 0.1, 0.1])

  def test_upright_is_the_models_own_pose(self):
    np.testing.assert_allclose(humanoid.UPRIGHT, MODEL.qpos0, rtol=1e-6)


@pytest.fixture(scope="module")
def step():
  """A state on the ground in motion, as the engine gives it, and the simulator's own data there."""
  simulator = NativeSimulator(FAMILY.dynamics, num_threads=0)
  qpos, qvel = np.array(MODEL.qpos0), np.linspace(-0.5, 0.5, 23)
  qpos[2] = 1.3  # both feet in the floor
  action = np.linspace(-1, 1, 17)
  models = simulator.models({"direction_angle": np.zeros(1)})
  state = simulator.step(models, simulator.start(models, Physics(qpos[None], qvel[None])), action[None])
  state = jax.tree.map(lambda x: x[0], state)
  data = mujoco.MjData(MODEL)
  data.qpos[:], data.qvel[:], data.ctrl[:] = state.qpos, state.qvel, action
  mujoco.mj_forward(MODEL, data)
  mujoco.mj_rnePostConstraint(MODEL, data)
  return state, data


def test_observation_is_laid_out_as_published(step):
  state, data = step
  observation = humanoid.observe(EAST, state)
  parts = np.split(observation, np.cumsum([22, 23, 140, 84, 23]))
  assert [len(part) for part in parts] == [22, 23, 140, 84, 23, 84]
  assert np.any(data.cfrc_ext)
  expected = (data.qpos[2:], data.qvel, data.cinert, data.cvel, data.qfrc_actuator, data.cfrc_ext)
  for part, value in zip(parts, expected, strict=True):
    np.testing.assert_allclose(part, value.ravel(), rtol=1e-5, atol=1e-6)


def test_the_centre_of_mass_is_the_whole_bodys(step):
  state, data = step
  mean = MODEL.body_mass @ data.xipos / np.sum(MODEL.body_mass)
  np.testing.assert_allclose(state.derived["subtree_com"][humanoid.ROOT_BODY], mean, rtol=1e-9)


def physics(centre, force=0.0, height=1.4):
  """A state with its centre of mass at (x, y), and this force on one body."""
  subtree_com, cfrc_ext = np.zeros((14, 3), np.float32), np.zeros((14, 6), np.float32)
  subtree_com[1, :2] = centre
  cfrc_ext[6, 5] = force
  qpos = np.array(humanoid.UPRIGHT)
  qpos[2] = height
  return Physics(qpos, np.zeros(23, np.float32), {"subtree_com": subtree_com, "cfrc_ext": cfrc_ext})


def test_reward_by_hand():
  # 0.03 m east and 0.012 m north: 0.25 * 0.03 / 0.003 = 2.5, and 1.0. Control: 0.1 * 17 * (0.4 * 0.5)^2 = 0.068.
  before, after = physics([1.0, 2.0]), physics([1.03, 2.012])
  action = np.full(17, -0.5, np.float32)
  assert humanoid.reward(EAST, before, action, after) == pytest.approx(2.5 - 0.068 + 5, abs=1e-4)
  assert humanoid.reward(NORTH, before, action, after) == pytest.approx(1.0 - 0.068 + 5, abs=1e-4)


@pytest.mark.parametrize(("force", "cost"), [(1000.0, 0.5), (4000.0, 8.0), (5000.0, 10.0)])
def test_contact_costs_the_squared_force_up_to_ten(force, cost):
  before, after = physics([0, 0], force=123.0), physics([0, 0], force=force)
  assert humanoid.reward(EAST, before, np.zeros(17), after) == pytest.approx(5 - cost, rel=1e-5)


@pytest.mark.parametrize(
  ("height", "ends"), [(0.999, True), (1.0, False), (2.0, False), (2.001, True), (math.nan, True)]
)
def test_ends_where_the_root_leaves_one_to_two_metres(height, ends):
  assert humanoid.fallen(EAST, physics([0, 0], height=height)) == ends


def test_starts_are_within_a_hundredth_of_upright():
  states = jax.vmap(lambda key: humanoid.reset(EAST, key))(jax.random.split(jax.random.key(0), 500))
  noise = np.concatenate([states.qpos - humanoid.UPRIGHT, states.qvel], axis=1)
  reach = np.max(np.abs(noise), axis=0)
  assert np.max(reach) <= 0.0101  # the quaternion is scaled after the noise
  assert np.min(np.delete(reach, 3)) > 0.0095
  np.testing.assert_allclose(np.linalg.norm(states.qpos[:, 3:7], axis=1), 1, rtol=1e-6)


def test_tasks_and_splits():
  angles = FAMILY.tasks["direction_angle"]
  random = np.random.RandomState(1337)
  np.testing.assert_allclose(angles, [2 * math.pi * random.random_sample() for _ in range(130)], rtol=1e-6)
  assert (FAMILY.train_tasks, FAMILY.test_tasks) == (tuple(range(100)), tuple(range(100, 130)))
  assert (
    np.max(angles[list(FAMILY.extrapolation.train)]) < 1.5 * math.pi < np.min(angles[list(FAMILY.extrapolation.test)])
  )


@pytest.mark.slow
def test_mjx_sees_what_native_mujoco_sees():
  pose = np.array(humanoid.UPRIGHT)
  pose[2] = 1.28  # both feet in the floor
  start = Physics(pose, np.linspace(-0.5, 0.5, 23, dtype=np.float32))
  accelerated = jax.jit(on_mjx(FAMILY._replace(reset=lambda task, key: jax.tree.map(jnp.asarray, start))).reset)(
    EAST, jax.random.key(0)
  )
  simulator = NativeSimulator(FAMILY.dynamics, num_threads=0)
  models = simulator.models({"direction_angle": np.zeros(1)})
  native = jax.tree.map(lambda x: x[0], simulator.start(models, jax.tree.map(lambda x: x[None], start)))
  assert np.max(np.abs(native.derived["cfrc_ext"])) > 100
  for name, value in native.derived.items():
    np.testing.assert_allclose(accelerated.derived[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
