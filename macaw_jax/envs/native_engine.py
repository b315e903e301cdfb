"""Native MuJoCo from within compiled programs: the host steps all episodes of a batch in one call."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.custom_batching import custom_vmap

from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, Task, TaskFamily, as_commanded
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.types import Array, Key

# JAX copies what a callback is given, arrays of 100 KiB and more on the very threads that run programs. Where each of
# these waits in a callback for its copy, none is left to make it.
PIECE_BYTES = 64 * 1024


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
  simulate = _for_each_episode(_host_call(dynamics))

  def multipliers(task: Task) -> dict[str, Array]:
    return {name: jnp.asarray(task[name]) for name in dynamics.randomised}

  def start(task: Task, key: Key) -> Physics:
    physics = family.reset(task, key)
    return simulate(multipliers(task), physics.qpos, physics.qvel) if dynamics.derived else physics

  def step(task: Task, state: Physics, action: Array) -> Physics:
    return simulate(multipliers(task), state.qpos, state.qvel, family.actuate(task, action))

  return family._replace(reset=start, dynamics=AnalyticDynamics(step), actuate=as_commanded)


def _for_each_episode(call: Callable[..., Physics]) -> Callable[..., Physics]:
  """A function of one episode from one of N, `[N, ...]`; mapped, it stays one call, on all episodes of the batch."""
  of_all = custom_vmap(call)

  @of_all.def_vmap
  def merge(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[Physics, Physics]:
    def merged(batched: bool, x: Array) -> Array:
      x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
      return x.reshape(axis_size * x.shape[1], *x.shape[2:])

    after = of_all(*jax.tree.map(merged, tuple(in_batched), arguments))
    apart = jax.tree.map(lambda x: x.reshape(axis_size, x.shape[0] // axis_size, *x.shape[1:]), after)
    return apart, jax.tree.map(lambda _: True, apart)

  def of_one(*arguments: Any) -> Physics:
    after = of_all(*jax.tree.map(lambda x: x[None], arguments))
    return jax.tree.map(lambda x: x[0], after)

  return of_one


def _host_call(dynamics: MujocoDynamics) -> Callable[..., Physics]:
  """The simulator for compiled programs, `(multipliers, qpos, qvel, *control) -> Physics`, all `[N, ...]`.

  Without a control it gives the starts with what is derived, with one the physics a control step later.
  """
  simulator = NativeSimulator(dynamics)
  data = mujoco.MjData(simulator.model)
  derived_shapes = {name: np.shape(getattr(data, name)) for name in dynamics.derived}
  # The simulator is not made for two callers, and programs may run at the same time.
  one_at_a_time = threading.Lock()

  def simulate(pieces: Any) -> Physics:
    """On the host, with NumPy and MuJoCo alone: a callback that waits for a JAX computation can wait for ever."""
    multipliers, qpos, qvel, *control = jax.tree.map(_whole, pieces, is_leaf=lambda x: isinstance(x, list))
    physics = Physics(qpos, qvel)
    with one_at_a_time:
      models = simulator.models(multipliers) if multipliers else [simulator.model] * len(qpos)
      after = simulator.step(models, physics, *control) if control else simulator.start(models, physics)
    return jax.tree.map(lambda x: x.astype(qpos.dtype), after)

  def call(multipliers: dict[str, Array], qpos: Array, qvel: Array, *control: Array) -> Physics:
    def result(*shape: int) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct((len(qpos), *shape), qpos.dtype)

    derived = {name: result(*shape) for name, shape in derived_shapes.items()}
    physics = Physics(result(*qpos.shape[1:]), result(*qvel.shape[1:]), derived)
    return jax.pure_callback(simulate, physics, jax.tree.map(_pieces, (multipliers, qpos, qvel, *control)))

  return call


def _pieces(array: Array) -> list[Array]:
  """The rows of an array in pieces of some 64 KiB."""
  return jnp.array_split(array, min(len(array), 1 + array.nbytes // PIECE_BYTES))


def _whole(pieces: list[Array]) -> np.ndarray:
  return np.concatenate([np.asarray(piece) for piece in pieces])
