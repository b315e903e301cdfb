import math

import jax
import mujoco
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs import randomised
from macaw_jax.envs.family import Physics

WALKER = mujoco.MjModel.from_xml_path(randomised.WALKER_XML_PATH)
HOPPER = mujoco.MjModel.from_xml_path(randomised.HOPPER_XML_PATH)


def capsule(radius, length):
  return math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3


def state(height=1.25, pitch=0.0, size=9, qvel=0.0):
  qpos = np.zeros(size, np.float32)
  qpos[1:3] = height, pitch
  return Physics(qpos, np.full(size, qvel, np.float32))


@pytest.mark.parametrize("model", [WALKER, HOPPER])
def test_time_and_motors(model):
  assert model.opt.timestep * randomised.FRAME_SKIP == pytest.approx(randomised.CONTROL_SECONDS)
  assert mujoco.mjtIntegrator(model.opt.integrator) == mujoco.mjtIntegrator.mjINT_RK4
  np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1, 1]] * model.nu)
  np.testing.assert_array_equal(model.actuator_gear[:, 0], [{6: 100, 3: 200}[model.nu]] * model.nu)


def test_masses_by_volume():
  torso, thigh, shin = capsule(0.05, 0.4), capsule(0.05, 0.45), capsule(0.04, 0.5)
  leg = [thigh, shin, capsule(0.06, 0.2)]
  np.testing.assert_allclose(WALKER.body_mass[1:], 1000 * np.array([torso, *leg, *leg]), rtol=1e-9)
  np.testing.assert_allclose(
    HOPPER.body_mass[1:], 1000 * np.array([torso, thigh, shin, capsule(0.06, 0.39)]), rtol=1e-9
  )


def test_joints_and_friction():
  leg = [[-150, 0], [-150, 0], [-45, 45]]
  np.testing.assert_allclose(np.degrees(WALKER.jnt_range[3:]), leg + leg, rtol=1e-12)
  np.testing.assert_allclose(np.degrees(HOPPER.jnt_range[3:]), leg, rtol=1e-12)
  np.testing.assert_array_equal(WALKER.dof_damping, [0] * 3 + [0.1] * 6)
  np.testing.assert_array_equal(HOPPER.dof_damping, [0] * 3 + [1] * 3)
  np.testing.assert_array_equal(WALKER.geom_friction[:, 0], [0.7, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.9])
  np.testing.assert_array_equal(HOPPER.geom_friction[:, 0], [1, 0.9, 0.9, 0.9, 2])
  np.testing.assert_array_equal(WALKER.geom_conaffinity, [1] + [0] * 7)  # the floor alone
  np.testing.assert_array_equal(HOPPER.geom_condim, [3, 1, 1, 1, 1])
  assert WALKER.qpos0[1] == HOPPER.qpos0[1] == 1.25


def test_reward_by_hand():
  before, after = state(), state()
  after.qpos[0] = 0.032  # 2 m/s
  action = np.full(6, 0.5, np.float32)
  assert randomised.reward({}, before, action, after) == pytest.approx(2 + 1 - 0.001 * 1.5, abs=1e-5)


def test_observation_cuts_velocities():
  seen = randomised.observe({}, Physics(np.arange(6.0), np.array([-20.0, -10, -1, 1, 10, 20])))
  np.testing.assert_allclose(seen, [1, 2, 3, 4, 5, -10, -10, -1, 1, 10, 10])


@pytest.mark.parametrize(
  ("height", "pitch", "end"),
  [
    (1.25, 0.0, False),
    (0.79, 0.0, True),
    (2.01, 0.0, True),
    (1.25, 1.01, True),
    (1.25, -0.99, False),
    (np.nan, 0.0, True),
  ],
)
def test_the_walker_falls(height, pitch, end):
  assert bool(randomised.walker_fallen({}, state(height, pitch))) == end


@pytest.mark.parametrize(
  ("height", "pitch", "qvel", "end"),
  [
    (1.25, 0.0, 0.0, False),
    (0.7, 0.0, 0.0, True),
    (9.0, 0.19, 0.0, False),
    (1.25, -0.21, 0.0, True),
    (1.25, 0.0, 101, True),
  ],
)
def test_the_hopper_falls(height, pitch, qvel, end):
  assert bool(randomised.hopper_fallen({}, state(height, pitch, 6, qvel))) == end


@pytest.mark.parametrize("name", ["walker_params", "hopper_params"])
def test_multipliers_follow_the_recipe(name):
  family = envs.make(name)
  assert family.differ_in == "physics"
  assert set(family.tasks) == set(family.dynamics.randomised)
  for field, base in (("body_mass", 1.5), ("body_inertia", 1.5), ("dof_damping", 1.3), ("geom_friction", 1.5)):
    exponents = np.log(family.tasks[field]) / np.log(base)
    assert np.abs(exponents).max() <= 3.00001
    np.testing.assert_allclose(exponents.std(), 6 / math.sqrt(12), rtol=0.1)  # U(-3, 3)
    assert len(np.unique(exponents)) == exponents.size  # an entry of its own for each
  starts = jax.vmap(lambda key: family.reset({}, key))(jax.random.split(jax.random.key(0), 500))
  noise = np.concatenate([starts.qpos - np.eye(starts.qpos.shape[1])[1] * 1.25, starts.qvel], axis=1)
  assert 0.0049 < np.abs(noise).max() <= 0.00501


def test_splits():
  walkers, hoppers = envs.make("walker_params"), envs.make("hopper_params")
  assert (len(walkers.train_tasks), walkers.test_tasks) == (45, (2, 12, 15, 39, 43))
  assert (len(hoppers.train_tasks), len(hoppers.test_tasks)) == (40, 10)
  for family, model in ((walkers, WALKER), (hoppers, HOPPER)):
    mass = (family.tasks["body_mass"] * model.body_mass).sum(axis=1)
    assert mass[list(family.extrapolation.train)].max() <= mass[list(family.extrapolation.test)].min()
