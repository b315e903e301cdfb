"""The picture that a command draws of many runs, if it is asked to."""

from collections.abc import Callable
from pathlib import Path

from absl import flags

from experiments.command_line import say
from experiments.configuration import ConfigurationError

PICTURE = flags.DEFINE_string("picture", None, "PNG of a picture; none if not given.")


def draw_if_wanted(draw: Callable[[Path], None]) -> None:
  """Draws into the file of `--picture`; where matplotlib is not installed, says why there is no picture.

  Raises:
    ConfigurationError: the file cannot be written, or its ending is that of no known format.
  """
  if not PICTURE.value:
    return
  try:
    draw(Path(PICTURE.value))
    say(f"\ndrawn to {PICTURE.value}")
  except ImportError:
    say('\nno picture: matplotlib is not installed (pip install "macaw_jax[plot]")')
  except (OSError, ValueError) as error:  # a folder that is not there, a format that matplotlib does not know
    raise ConfigurationError(f"--picture={PICTURE.value}: {error}") from error
