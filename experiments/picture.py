"""The picture that a command draws of many runs, if it is asked to."""

from collections.abc import Callable
from pathlib import Path

from absl import flags

from experiments.command_line import say
from experiments.configuration import ConfigurationError

PICTURE = flags.DEFINE_string("picture", None, "PNG of a picture; none if not given.")


def check_picture() -> None:
  """Raises `ConfigurationError` unless the file of `--picture` can be one; before what it shows is computed."""
  if not PICTURE.value:
    return
  path = Path(PICTURE.value)
  if path.suffix != ".png":
    raise ConfigurationError(f"--picture={path}: expected a file that ends in .png")
  if path.is_dir():
    raise ConfigurationError(f"--picture={path}: expected a file, found a folder")
  if not path.parent.is_dir():
    raise ConfigurationError(f"--picture={path}: there is no folder {path.parent}")


def draw_if_wanted(draw: Callable[[Path], None]) -> None:
  """Draws into the file of `--picture`; where matplotlib is not installed, says why there is no picture.

  Raises:
    ConfigurationError: the file cannot be written.
  """
  if not PICTURE.value:
    return
  try:
    draw(Path(PICTURE.value))
    say(f"\ndrawn to {PICTURE.value}")
  except ImportError:
    say('\nno picture: matplotlib is not installed (pip install "macaw_jax[plot]")')
  except OSError as error:
    raise ConfigurationError(f"--picture={PICTURE.value}: {error}") from error
