"""Native MuJoCo stepping for many episodes at once, on a pool of threads."""

import copy
import os
from concurrent.futures import ThreadPoolExecutor

import jax
import mujoco
import numpy as np
from mujoco.rollout import Rollout

from macaw_jax.envs.family import MujocoDynamics, Physics, Task


class NativeSimulator:
  """Steps N independent episodes of a MuJoCo model; deterministic, whatever the threads and the neighbours.

  The state of an episode is (qpos, qvel) alone, so that it goes on from any stored state bit for bit: each control step
  starts the constraint solver from zero acceleration. A simulator that carries the warm start over control steps agrees
  within the solver's tolerance.

  Args:
    dynamics: the model, its frame skip, what tasks change in it and what is derived from its states.
    num_threads: threads of the pool; zero steps on the calling thread. The default is one a processor core.

  Raises:
    ValueError: the model has state besides qpos and qvel (activations, plugins), or the file is no MuJoCo model.
  """

  def __init__(self, dynamics: MujocoDynamics, num_threads: int | None = None):
    self.model = mujoco.MjModel.from_xml_path(dynamics.xml_path)
    self._dynamics = dynamics
    self._state_size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    if self._state_size != 1 + self.model.nq + self.model.nv:
      raise ValueError(f"{dynamics.xml_path}: expected a model whose only state is time, qpos and qvel.")
    if num_threads is None:
      num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    self._pool = Rollout(nthread=num_threads)
    self._data = [mujoco.MjData(self.model) for _ in range(max(1, num_threads))]
    self._executor = ThreadPoolExecutor(len(self._data))
    self._last_models: dict[bytes, mujoco.MjModel] = {}

  def models(self, tasks: Task) -> list[mujoco.MjModel]:
    """The model of each episode, from the task of each, leaves `[N, ...]`; one object where tasks are equal.

    Models are kept until the next call: whoever asks in every step of an episode makes them once.
    """
    num_episodes = len(jax.tree.leaves(tasks)[0])
    if not self._dynamics.randomised:
      return [self.model] * num_episodes
    factors = {name: np.asarray(tasks[name], np.float64) for name in self._dynamics.randomised}
    known, self._last_models = self._last_models, {}
    chosen = []
    for episode in range(num_episodes):
      own = {name: values[episode] for name, values in factors.items()}
      key = b"".join(values.tobytes() for values in own.values())
      if key not in self._last_models:
        self._last_models[key] = known.get(key) or _scaled_model(self.model, own)
      chosen.append(self._last_models[key])
    return chosen

  def start(self, models: list[mujoco.MjModel], physics: Physics) -> Physics:
    """The starts that a family gives, qpos `[N, nq]` and qvel `[N, nv]`, in float64 and with what is derived."""
    qpos, qvel = np.asarray(physics.qpos, np.float64), np.asarray(physics.qvel, np.float64)
    return Physics(qpos, qvel, self._derive(models, qpos, qvel, np.zeros((len(models), self.model.nu))))

  def step(self, models: list[mujoco.MjModel], physics: Physics, action: np.ndarray) -> Physics:
    """The physics `frame_skip` physics steps later under a constant action, float64.

    Args:
      models: of each episode, as `models` gave them.
      physics: qpos `[N, nq]`, qvel `[N, nv]`, of any float type.
      action: `[N, nu]`, within the control range.
    """
    nq = self.model.nq
    start = np.zeros((len(action), self._state_size))  # time, qpos, qvel
    start[:, 1 : 1 + nq] = physics.qpos
    start[:, 1 + nq :] = physics.qvel
    control = np.repeat(np.asarray(action, np.float64)[:, None], self._dynamics.frame_skip, axis=1)
    states, _ = self._pool.rollout(models, self._data, start, control)
    qpos, qvel = states[:, -1, 1 : 1 + nq].copy(), states[:, -1, 1 + nq :].copy()
    return Physics(qpos, qvel, self._derive(models, qpos, qvel, control[:, 0]))

  def _derive(
    self, models: list[mujoco.MjModel], qpos: np.ndarray, qvel: np.ndarray, control: np.ndarray
  ) -> dict[str, np.ndarray]:
    """The wanted fields of mjData in each state, `[N, ...]`."""
    names = self._dynamics.derived
    if not names:
      return {}
    derived = {name: np.empty((len(models), *getattr(self._data[0], name).shape)) for name in names}

    def fill(data: mujoco.MjData, episodes: range) -> None:
      for episode in episodes:
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos[episode], qvel[episode], control[episode]
        data.qacc_warmstart[:] = 0.0
        mujoco.mj_forward(models[episode], data)
        mujoco.mj_rnePostConstraint(models[episode], data)  # contact forces on bodies, which mj_forward leaves alone
        for name in names:
          derived[name][episode] = getattr(data, name)

    threads = len(self._data)
    list(self._executor.map(fill, self._data, (range(thread, len(models), threads) for thread in range(threads))))
    return derived


def _scaled_model(model: mujoco.MjModel, factors: dict[str, np.ndarray]) -> mujoco.MjModel:
  """A copy of the model with some fields multiplied, and sums of masses made to agree with the masses."""
  scaled = copy.deepcopy(model)
  for name, values in factors.items():
    getattr(scaled, name)[:] *= values
  # Centres of mass divide by these sums, which MJX computes anew.
  scaled.body_subtreemass[:] = scaled.body_mass
  for body in range(model.nbody - 1, 0, -1):
    scaled.body_subtreemass[model.body_parentid[body]] += scaled.body_subtreemass[body]
  return scaled
