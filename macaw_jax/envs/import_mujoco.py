"""MuJoCo, imported where a model is stepped or drawn and nowhere before.

On import MuJoCo loads the OpenGL back end that `MUJOCO_GL` names, and fails where that is not installed. Neither data
nor families of plain functions need it.
"""

import os
from types import ModuleType

from macaw_jax.errors import ConfigurationError


def import_mujoco() -> ModuleType:
  """The package.

  Raises:
    ConfigurationError: it cannot be imported; the line says why, and what `MUJOCO_GL` is.
  """
  try:
    import mujoco
  except Exception as error:  # whatever an OpenGL back end raises
    chosen = os.environ.get("MUJOCO_GL")
    advice = f"; MUJOCO_GL={chosen} names its OpenGL back end: unset it, or install that" if chosen else ""
    raise ConfigurationError(
      f"MuJoCo cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}{advice}"
    ) from error
  return mujoco
