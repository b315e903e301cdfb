"""Puts the commands, their configurations and the starter data into the wheel, inside the package."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackagedFolders(BuildHookInterface):
  """A checkout that is installed in place has these folders beside the package, and needs no copies."""

  def initialize(self, version: str, build_data: dict[str, Any]) -> None:
    """Adds the folders to a wheel that is to stand alone."""
    if version == "standard":
      for folder in ("experiments", "configs", "starter_data"):
        build_data["force_include"][folder] = f"macaw_jax/{folder}"
