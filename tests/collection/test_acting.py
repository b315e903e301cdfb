import numpy as np

from macaw_jax.collection.acting import act_on_raw_timesteps
from macaw_jax.data.statistics import Statistics
from macaw_jax.types import TimeStep


def test_the_agent_sees_scaled_observations_and_rewards():
  statistics = Statistics(np.array([0.5, -0.25], np.float32), np.array([2.0, 0.5], np.float32), np.float32(4.0))
  act = act_on_raw_timesteps(lambda params, task, timestep, key: ((params, timestep), task))
  timestep = TimeStep(np.array([2.5, 0.0]), np.zeros(2), np.float32(-8.0), np.float32(0.0))
  (params, seen), _ = act(("params", statistics), {}, timestep, None)
  assert params == "params"
  np.testing.assert_allclose(seen.observation, [1.0, 0.5])
  assert seen.reward == -2.0
