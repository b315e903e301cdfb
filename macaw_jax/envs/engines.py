"""The engines that step MuJoCo bodies in a compiled program."""

from typing import Literal, get_args

from macaw_jax.envs.family import MujocoDynamics, TaskFamily
from macaw_jax.envs.native_engine import on_native

Engine = Literal["native", "mjx"]


def with_compiled_physics(family: TaskFamily, engine: Engine) -> TaskFamily:
  """The family with its physics as a JAX function; one whose physics is such a function already, as it is.

  Args:
    family: of any physics.
    engine: "native" calls MuJoCo on the host, once a step for all episodes; "mjx" runs inside the program, on an
      accelerator if there is one.

  Raises:
    ValueError: there is no such engine.
  """
  if engine not in get_args(Engine):
    raise ValueError(f"engine={engine!r} is unknown; choose one of {', '.join(get_args(Engine))}")
  if not isinstance(family.dynamics, MujocoDynamics):
    return family
  if engine == "native":
    return on_native(family)
  # Only here: importing MJX takes a second and prints that one of its own back ends is absent.
  from macaw_jax.envs.mjx_engine import on_mjx

  return on_mjx(family)
