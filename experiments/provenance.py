"""Where a result came from: the commit and the versions of the packages behind it."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("macaw_jax", "jax", "jaxlib", "flax", "optax", "numpy", "mujoco")


def package_versions() -> dict[str, str]:
  """Version of Python and of each package that decides a number."""
  return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def git_commit() -> str | None:
  """Hash of the commit, with `-dirty` after it where tracked files differ from it; None outside a repository."""
  command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  return result.stdout.strip()
