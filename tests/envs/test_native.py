import mujoco
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs import cheetah
from macaw_jax.envs.family import MujocoDynamics, Physics
from macaw_jax.envs.native import NativeSimulator

DYNAMICS = MujocoDynamics(cheetah.XML_PATH, cheetah.FRAME_SKIP)


def starts_and_actions(num_episodes, num_steps):
  random = np.random.RandomState(0)
  physics = Physics(random.uniform(-0.1, 0.1, (num_episodes, 9)), 0.1 * random.normal(size=(num_episodes, 9)))
  return physics, random.uniform(-1, 1, (num_steps, num_episodes, 6)).astype(np.float32)


def run(simulator, physics, actions):
  models = simulator.models({"unused": np.zeros(len(physics.qpos))})
  for action in actions:
    physics = simulator.step(models, physics, action)
  return physics


def plain_loop(physics, actions, carry_warm_start):
  """One episode, stepped by hand."""
  model = mujoco.MjModel.from_xml_path(cheetah.XML_PATH)
  data = mujoco.MjData(model)
  data.qpos[:], data.qvel[:] = physics.qpos, physics.qvel
  for action in actions:
    if not carry_warm_start:
      data.qacc_warmstart[:] = 0
    data.ctrl[:] = action
    for _ in range(5):
      mujoco.mj_step(model, data)
  return data


def test_agrees_with_stepping_by_hand():
  physics, actions = starts_and_actions(num_episodes=5, num_steps=40)
  end = run(NativeSimulator(DYNAMICS, num_threads=2), physics, actions)
  for i in range(5):
    data = plain_loop(Physics(physics.qpos[i], physics.qvel[i]), actions[:, i], carry_warm_start=False)
    assert data.time == pytest.approx(40 * 0.05)
    np.testing.assert_array_equal(end.qpos[i], data.qpos)
    np.testing.assert_array_equal(end.qvel[i], data.qvel)


def test_starting_the_solver_anew_changes_ten_steps_little():
  physics, actions = starts_and_actions(num_episodes=5, num_steps=10)
  end = run(NativeSimulator(DYNAMICS, num_threads=0), physics, actions)
  for i in range(5):
    data = plain_loop(Physics(physics.qpos[i], physics.qvel[i]), actions[:, i], carry_warm_start=True)
    np.testing.assert_allclose(end.qpos[i], data.qpos, atol=1e-6)


def test_bitwise_the_same_for_any_threads_and_neighbours():
  physics, actions = starts_and_actions(num_episodes=12, num_steps=40)
  reference = run(NativeSimulator(DYNAMICS, num_threads=0), physics, actions)
  assert len(np.unique(reference.qpos[:, 0])) == 12
  for threads in (1, 2, 3):
    simulator = NativeSimulator(DYNAMICS, num_threads=threads)
    for episodes in (slice(None), slice(5, 6), slice(11, 2, -2)):
      part = run(simulator, Physics(physics.qpos[episodes], physics.qvel[episodes]), actions[:, episodes])
      np.testing.assert_array_equal(part.qpos, reference.qpos[episodes])
      np.testing.assert_array_equal(part.qvel, reference.qvel[episodes])


def test_an_episode_continues_from_its_stored_state():
  physics, actions = starts_and_actions(num_episodes=3, num_steps=30)
  half = run(NativeSimulator(DYNAMICS), physics, actions[:15])
  np.testing.assert_array_equal(
    run(NativeSimulator(DYNAMICS), half, actions[15:]).qpos, run(NativeSimulator(DYNAMICS), physics, actions).qpos
  )


def test_refuses_a_model_with_more_state(tmp_path):
  model = tmp_path / "muscle.xml"
  model.write_text(
    "<mujoco><worldbody><body><joint name='hinge'/><geom size='1'/></body></worldbody>"
    "<actuator><general joint='hinge' dyntype='filter'/></actuator></mujoco>"
  )
  with pytest.raises(ValueError, match=r"muscle\.xml"):
    NativeSimulator(MujocoDynamics(str(model), 1))


def test_each_task_has_the_body_that_it_asks_for():
  family = envs.make("hopper_params")
  simulator = NativeSimulator(family.dynamics)
  tasks = {name: values[[0, 1, 0]] for name, values in family.tasks.items()}
  models = simulator.models(tasks)
  assert models[0] is models[2] is not models[1]
  for name in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
    np.testing.assert_allclose(getattr(models[1], name), tasks[name][1] * getattr(simulator.model, name), rtol=1e-12)
  assert models[1].body_subtreemass[0] == pytest.approx(models[1].body_mass.sum())
  np.testing.assert_array_equal(models[1].dof_invweight0, simulator.model.dof_invweight0)  # of the unchanged body
  random = np.random.RandomState(0)
  physics = Physics(np.tile(simulator.model.qpos0, (3, 1)), np.zeros((3, 6)))
  for action in random.uniform(-1, 1, (10, 3)):
    physics = simulator.step(models, physics, np.tile(action, (3, 1)))
  np.testing.assert_array_equal(physics.qpos[0], physics.qpos[2])
  assert np.abs(physics.qpos[0] - physics.qpos[1]).max() > 1e-3


def test_contact_forces_are_those_of_the_new_state():
  family = envs.make("ant_dir")
  model = mujoco.MjModel.from_xml_path(family.dynamics.xml_path)
  random = np.random.RandomState(0)
  actions = np.zeros((40, 3, 8))  # it falls and comes to rest on its feet
  actions[-1] = random.uniform(-1, 1, (3, 8))
  starts = Physics(np.tile(model.qpos0, (3, 1)), 0.1 * random.normal(size=(3, 14)))
  trajectories = []
  for threads in (0, 2):
    simulator = NativeSimulator(family.dynamics, num_threads=threads)
    models = simulator.models({"unused": np.zeros(3)})
    physics = simulator.start(models, starts)
    for action in actions:
      physics = simulator.step(models, physics, action)
    trajectories.append(physics)
  np.testing.assert_array_equal(trajectories[0].derived["cfrc_ext"], trajectories[1].derived["cfrc_ext"])
  data = mujoco.MjData(model)
  for episode in range(3):
    mujoco.mj_resetData(model, data)
    data.qpos[:], data.qvel[:], data.ctrl[:] = physics.qpos[episode], physics.qvel[episode], actions[-1, episode]
    mujoco.mj_forward(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    np.testing.assert_array_equal(physics.derived["cfrc_ext"][episode], data.cfrc_ext)
  # The floor pushes upwards.
  assert physics.derived["cfrc_ext"][:, :, 5].sum() > 0.1
