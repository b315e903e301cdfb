"""Native MuJoCo stepping for many episodes at once, on a pool of threads."""

import os

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from macaw_jax.envs.family import MujocoDynamics, Physics


class NativeSimulator:
  """Steps N independent episodes of one MuJoCo model; deterministic, whatever the threads and the neighbours.

  The state of an episode is (qpos, qvel) and nothing else: each control step starts the constraint solver from zero
  acceleration, and only the physics steps inside a control step warm-start one another. So an episode can be
  continued from any stored state bit for bit. A simulator that carries the warm start over control steps
  agrees within the solver's tolerance, not in the last bits.

  Args:
    dynamics: the model and its frame skip.
    num_threads: threads of the pool, which lives as long as the simulator; zero steps on the calling thread. The
      default is one a processor core.

  Raises:
    ValueError: the model has state besides qpos and qvel (activations, plugins), or the file is no MuJoCo model.
  """

  def __init__(self, dynamics: MujocoDynamics, num_threads: int | None = None):
    self.model = mujoco.MjModel.from_xml_path(dynamics.xml_path)
    self._frame_skip = dynamics.frame_skip
    self._state_size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    if self._state_size != 1 + self.model.nq + self.model.nv:
      raise ValueError(f"{dynamics.xml_path}: expected a model whose only state is time, qpos and qvel.")
    if num_threads is None:
      num_threads = os.cpu_count() or 1
    self._pool = Rollout(nthread=num_threads)
    self._data = [mujoco.MjData(self.model) for _ in range(max(1, num_threads))]

  def step(self, physics: Physics, action: np.ndarray) -> Physics:
    """One control step of each episode under a constant action.

    Args:
      physics: qpos `[N, nq]`, qvel `[N, nv]`; any float type, float64 inside.
      action: `[N, nu]`, within the control range.

    Returns:
      The physics `frame_skip` physics steps later, float64.
    """
    nq = self.model.nq
    num_episodes = len(action)
    start = np.zeros((num_episodes, self._state_size))  # time, qpos, qvel
    start[:, 1 : 1 + nq] = physics.qpos
    start[:, 1 + nq :] = physics.qvel
    control = np.empty((num_episodes, self._frame_skip, self.model.nu))
    control[:] = np.asarray(action)[:, None, :]
    states, _ = self._pool.rollout(self.model, self._data, start, control)
    return Physics(qpos=states[:, -1, 1 : 1 + nq].copy(), qvel=states[:, -1, 1 + nq :].copy())
