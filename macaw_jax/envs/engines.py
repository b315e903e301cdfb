"""The engines that step a family in a compiled program, and which families have none."""

from typing import Literal, get_args

from macaw_jax.envs.family import GymnasiumDynamics, MujocoDynamics, TaskFamily
from macaw_jax.envs.import_mujoco import import_mujoco
from macaw_jax.errors import ConfigurationError

Engine = Literal["native", "mjx"]


def require_compiled_physics(family: TaskFamily) -> None:
  """Raises `ConfigurationError` for a family that no compiled program can step: environments of Gymnasium."""
  if isinstance(family.dynamics, GymnasiumDynamics):
    raise ConfigurationError(
      f"family {family.name!r} has environments of Gymnasium, which no compiled program can step: expected a family of "
      "JAX functions or of a MuJoCo model for on-policy runs, for the engine mjx and for Brax"
    )


def with_compiled_physics(family: TaskFamily, engine: Engine) -> TaskFamily:
  """The family with its physics as a JAX function; one whose physics is such a function already, as it is.

  Args:
    family: of any physics.
    engine: "native" calls MuJoCo on the host, once a step for all episodes; "mjx" runs inside the program, on an
      accelerator if there is one.

  Raises:
    ValueError: there is no such engine.
    ConfigurationError: no program can hold the family, or MuJoCo cannot be imported.
  """
  if engine not in get_args(Engine):
    raise ValueError(f"engine={engine!r} is unknown; choose one of {', '.join(get_args(Engine))}")
  require_compiled_physics(family)
  if not isinstance(family.dynamics, MujocoDynamics):
    return family
  import_mujoco()
  if engine == "native":
    # Only here: it imports MuJoCo at once.
    from macaw_jax.envs.native_engine import on_native

    return on_native(family)
  # Only here: importing MJX takes a second and prints that one of its own back ends is absent.
  from macaw_jax.envs.mjx_engine import on_mjx

  return on_mjx(family)
