import mujoco
import numpy as np
import pytest

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
  with pytest.raises(ValueError, match=r"muscle\.xml: expected a model whose only state is time, qpos and qvel"):
    NativeSimulator(MujocoDynamics(str(model), 1))
