"""MuJoCo, imported where a model is stepped or drawn and nowhere before.

On import MuJoCo loads the OpenGL back end that `MUJOCO_GL` names, and fails where that is not installed. Neither data
nor families of plain functions need it, and stepping a model needs no OpenGL.
"""

import os
from types import ModuleType

from macaw_jax.errors import ConfigurationError

CHOICE = "MUJOCO_GL"


def import_mujoco() -> ModuleType:
  """The package, without OpenGL where the back end that is chosen cannot be loaded.

  The choice stays as it was, for the process that draws, which then says why it cannot.

  Raises:
    ConfigurationError: it cannot be imported; the line says why.
  """
  try:
    import mujoco
  except Exception as error:  # whatever an OpenGL back end raises
    chosen = os.environ.get(CHOICE)
    if not chosen:
      raise _not_imported(error) from error
  else:
    return mujoco
  os.environ[CHOICE] = "disable"
  try:
    import mujoco
  except Exception as error:
    raise _not_imported(error) from error
  finally:
    os.environ[CHOICE] = chosen
  return mujoco


def _not_imported(error: Exception) -> ConfigurationError:
  return ConfigurationError(f"MuJoCo cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}")
