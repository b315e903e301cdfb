"""MuJoCo families on MJX: the same functions of the same states, as one JAX function that an accelerator runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import collision_driver
from mujoco.mjx._src.support import contact_force_dim
from mujoco.mjx._src.types import GeomType

from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, Task, TaskFamily, as_commanded
from macaw_jax.types import Array, Key


def on_mjx(family: TaskFamily) -> TaskFamily:
  """The family with its physics on MJX in place of native MuJoCo.

  As on the native engine, the state of an episode is (qpos, qvel) alone, and each control step starts the constraint
  solver from zero acceleration. Map over tasks to randomise physics: only the changed fields of the model are batched.
  Its `step` takes the clipped action and does what `actuate` says itself, so the family has none any more.

  Raises:
    ValueError: the family's physics is not a MuJoCo model's.
  """
  if not isinstance(family.dynamics, MujocoDynamics):
    raise ValueError(f"{family.name}: its physics is no MuJoCo model; it is compiled as it is.")
  dynamics = family.dynamics
  base = mjx.put_model(mujoco.MjModel.from_xml_path(dynamics.xml_path))

  def start(task: Task, key: Key) -> Physics:
    physics = family.reset(task, key)
    return _read(dynamics, _model(base, dynamics, task), _data(base, physics.qpos, physics.qvel, jnp.zeros(base.nu)))

  def step(task: Task, state: Physics, action: Array) -> Physics:
    own = _model(base, dynamics, task)
    data = _data(base, state.qpos, state.qvel, family.actuate(task, action))

    def physics_step(data: mjx.Data, _: None) -> tuple[mjx.Data, None]:
      return mjx.step(own, data), None

    with _native_contact_frames():
      data, _ = jax.lax.scan(physics_step, data, None, dynamics.frame_skip)
    return _read(dynamics, own, data)

  return family._replace(reset=start, dynamics=AnalyticDynamics(step), actuate=as_commanded)


def _model(base: mjx.Model, dynamics: MujocoDynamics, task: Task) -> mjx.Model:
  """The model of one task: the fields that it changes, multiplied."""
  return base.replace(**{name: getattr(base, name) * task[name] for name in dynamics.randomised})


def _data(base: mjx.Model, qpos: Array, qvel: Array, control: Array) -> mjx.Data:
  """Data in this state, everything else as in a new one: the solver's warm start is zero."""
  return mjx.make_data(base).replace(qpos=qpos, qvel=qvel, ctrl=control)


def _read(dynamics: MujocoDynamics, own: mjx.Model, data: mjx.Data) -> Physics:
  """The state that a family sees."""
  if not dynamics.derived:
    return Physics(data.qpos, data.qvel)
  # Anew from the state alone, as the native engine does.
  with _native_contact_frames():
    data = mjx.forward(own, _data(own, data.qpos, data.qvel, data.ctrl))
  return Physics(data.qpos, data.qvel, {name: _field(own, data, name) for name in dynamics.derived})


def _field(own: mjx.Model, data: mjx.Data, name: str) -> Array:
  if name == "cfrc_ext":
    return external_forces(own, data)
  return getattr(data._impl, name) if hasattr(data._impl, name) else getattr(data, name)


def external_forces(model: mjx.Model, data: mjx.Data) -> Array:
  """`cfrc_ext` of mjData, which MJX leaves at zero: the wrench that contacts exert on each body, [nbody, 6].

  Torque, then force, in world axes about the centre of mass of the body's kinematic tree, as `mj_rnePostConstraint`
  gives them; there are no other external forces here. `data` comes from `mjx.forward`.
  """
  contact = data._impl.contact
  wrenches = jnp.zeros((model.nbody, 6))
  centre = data.subtree_com[model.body_rootid]  # [nbody, 3]
  for dimension in np.unique(contact.dim):
    force, index = contact_force_dim(model, data, int(dimension))  # [C, 6] in the axes of the contact
    # A contact's frame has its axes as rows.
    force, torque = (jnp.einsum("ci,cij->cj", part, contact.frame[index]) for part in (force[:, :3], force[:, 3:]))
    for side, sign in ((0, -1.0), (1, 1.0)):  # the force acts on the second geom, its opposite on the first
      body = jnp.asarray(model.geom_bodyid)[contact.geom[index, side]]
      moment = torque + jnp.cross(contact.pos[index] - centre[body], force)
      wrenches = wrenches.at[body].add(sign * jnp.concatenate([moment, force], axis=1))
  return wrenches.at[0].set(0.0)  # MuJoCo leaves the world out


_PLANE_CAPSULE = (GeomType.PLANE, GeomType.CAPSULE)
_plane_capsule_of_mjx = collision_driver._COLLISION_FUNC[_PLANE_CAPSULE]


def _plane_capsule(
  model: mjx.Model, data: mjx.Data, key: collision_driver.FunctionKey, geom: Array
) -> tuple[Array, Array, Array]:
  """The two contacts of each pair of plane and capsule, `geom` [P, 2]: distance [2P], position, frame.

  The first tangent is the capsule's axis laid on the plane, as in native MuJoCo. MJX takes the y axis where a capsule
  is steeper than 60 degrees, and a friction pyramid is another after such a turn: an ant's shins would slip elsewhere.
  """
  distance, position, _ = _plane_capsule_of_mjx(model, data, key, geom)
  plane, capsule = geom.T
  normal, axis = data.geom_xmat[plane][..., 2], data.geom_xmat[capsule][..., 2]  # [P, 3]
  along = axis - normal * jnp.sum(normal * axis, axis=-1, keepdims=True)
  length = jnp.sqrt(jnp.sum(along**2, axis=-1, keepdims=True))
  tangent = jnp.where(length > 0.0, along / jnp.where(length > 0.0, length, 1.0), jnp.array([1.0, 0.0, 0.0]))
  frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=-2)
  return distance, position, jnp.repeat(frame, _plane_capsule.ncon, axis=0)  # type: ignore[attr-defined]


_plane_capsule.ncon = _plane_capsule_of_mjx.ncon  # type: ignore[attr-defined]


@contextmanager
def _native_contact_frames() -> Iterator[None]:
  """While it lasts, MJX traces contacts of planes and capsules with native MuJoCo's tangents."""
  table = collision_driver._COLLISION_FUNC
  table[_PLANE_CAPSULE] = _plane_capsule
  try:
    yield
  finally:
    table[_PLANE_CAPSULE] = _plane_capsule_of_mjx
