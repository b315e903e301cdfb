"""Native MuJoCo from within compiled programs: the host steps all episodes of a batch in one call."""

import threading
from collections.abc import Mapping

import jax
import mujoco
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, Task, TaskFamily, as_commanded
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.types import Array, Key


def on_native(family: TaskFamily) -> TaskFamily:
  """The family with its physics as one JAX function that calls native MuJoCo on the host.

  However deep `step` is mapped over tasks, episodes and members, the host is called once for the whole batch, on the
  pool of threads of one simulator. A state is as precise as the program (float32, unless x64 is enabled) and rounded
  after each control step; in between the host computes in float64. `step` takes the clipped action and does what
  `actuate` says itself, so the family has none any more. No derivative passes through it.

  Raises:
    ValueError: the family's physics is not a MuJoCo model's.
  """
  if not isinstance(family.dynamics, MujocoDynamics):
    raise ValueError(f"{family.name}: its physics is no MuJoCo model; it is compiled as it is.")
  dynamics = family.dynamics
  host = _Host(dynamics)

  def start(task: Task, key: Key) -> Physics:
    physics = family.reset(task, key)
    if not dynamics.derived:
      return physics
    multipliers, state = _multipliers(dynamics, task), (physics.qpos, physics.qvel)
    result = host.result(physics)
    return jax.pure_callback(host.start, result, multipliers, *state, vmap_method="expand_dims")

  def step(task: Task, state: Physics, action: Array) -> Physics:
    multipliers, control = _multipliers(dynamics, task), family.actuate(task, action)
    result = host.result(state)
    return jax.pure_callback(host.step, result, multipliers, state.qpos, state.qvel, control, vmap_method="expand_dims")

  return family._replace(reset=start, dynamics=AnalyticDynamics(step), actuate=as_commanded)


def _multipliers(dynamics: MujocoDynamics, task: Task) -> dict[str, Array]:
  """What the task changes in the model."""
  return {name: task[name] for name in dynamics.randomised}


class _Host:
  """The simulator as functions of arrays with any leading axes, on which the arguments are broadcast.

  They compute with NumPy and MuJoCo alone: a callback that waits for JAX can wait for ever.
  """

  def __init__(self, dynamics: MujocoDynamics):
    self._simulator = NativeSimulator(dynamics)
    self._model_ranks = {name: np.ndim(getattr(self._simulator.model, name)) for name in dynamics.randomised}
    data = mujoco.MjData(self._simulator.model)
    self._derived_shapes = {name: np.shape(getattr(data, name)) for name in dynamics.derived}
    # The simulator is not made for two callers, and programs may run at the same time.
    self._one_at_a_time = threading.Lock()

  def result(self, state: Physics) -> Physics:
    """Shapes and types of what `start` and `step` return for one episode, those of its state given."""
    dtype = state.qpos.dtype
    derived = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in self._derived_shapes.items()}
    qpos, qvel = (jax.ShapeDtypeStruct(x.shape, dtype) for x in (state.qpos, state.qvel))
    return Physics(qpos, qvel, derived)

  def start(self, multipliers: Mapping[str, Array], qpos: Array, qvel: Array) -> Physics:
    """As `NativeSimulator.start`."""
    return self._call(multipliers, qpos, qvel)

  def step(self, multipliers: Mapping[str, Array], qpos: Array, qvel: Array, control: Array) -> Physics:
    """As `NativeSimulator.step`."""
    return self._call(multipliers, qpos, qvel, control)

  def _call(self, multipliers: Mapping[str, Array], *arrays: Array) -> Physics:
    factors = {name: np.asarray(values) for name, values in multipliers.items()}
    vectors = [np.asarray(array) for array in arrays]
    ranked = [(vector, 1) for vector in vectors] + [(factors[name], rank) for name, rank in self._model_ranks.items()]
    leading = np.broadcast_shapes(*(array.shape[: array.ndim - rank] for array, rank in ranked))

    def flat(array: np.ndarray, rank: int) -> np.ndarray:
      shape = array.shape[array.ndim - rank :]
      return np.broadcast_to(array, leading + shape).reshape(-1, *shape)

    qpos, qvel, *control = (flat(vector, 1) for vector in vectors)
    with self._one_at_a_time:
      simulator, physics = self._simulator, Physics(qpos, qvel)
      models = [simulator.model] * len(qpos)
      if factors:
        models = simulator.models({name: flat(values, self._model_ranks[name]) for name, values in factors.items()})
      after = simulator.step(models, physics, *control) if control else simulator.start(models, physics)
    return jax.tree.map(lambda x: x.astype(vectors[0].dtype).reshape(leading + x.shape[1:]), after)
