"""Small datasets that travel with the package, for a first run before anything is collected."""

import os
from pathlib import Path


def starter_data(family: str) -> str | None:
  """The directory of a family's starter data, relative to the working directory where it lies below; None without any.

  A wheel has the data inside the package, a checkout beside it.
  """
  package = Path(__file__).parents[1]
  for place in (package, package.parent):
    directory = place / "starter_data" / family
    if directory.is_dir():
      below = directory.is_relative_to(Path.cwd())
      return os.fspath(directory.relative_to(Path.cwd()) if below else directory)
  return None
