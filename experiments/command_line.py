"""The start of every command: flags, compiled programs kept on the disk, pictures, one clear line for bad input."""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

import ml_collections
from absl import app, flags, logging

from macaw_jax.compilation_cache import use_compilation_cache
from macaw_jax.console import log
from macaw_jax.data.manifest import DatasetError
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.evaluation.comparison import find_runs
from macaw_jax.training.interruption import EXIT_CODES, Interrupted

from .config_file import make_config, take_overrides
from .configuration import MAX_SEED

FAILURE = 1
BAD_INPUT = 2


# Flags that some commands share: each defines those that it reads, so that no other takes them.


@cache
def define_picture() -> flags.FlagHolder[str | None]:
  """The flag of a command that draws."""
  return flags.DEFINE_string("picture", None, "PNG of a picture; none if not given.")


@cache
def define_evaluation() -> tuple[flags.FlagHolder[int | None], flags.FlagHolder[int]]:
  """The flags of a command that evaluates trained runs: episodes, and the seed of what it draws."""
  episodes = flags.DEFINE_integer("episodes", None, "Episodes of each task; those of the run if not given.")
  return episodes, flags.DEFINE_integer(
    "seed", 0, "Decides supports, starts and actions.", lower_bound=0, upper_bound=MAX_SEED
  )


def check_picture() -> None:
  """Raises `ConfigurationError` unless the file of `--picture` can be one; before what it shows is computed."""
  if not flags.FLAGS.picture:
    return
  path = Path(flags.FLAGS.picture)
  if path.suffix != ".png":
    raise ConfigurationError(f"--picture={path}: expected a file that ends in .png")
  if path.is_dir():
    raise ConfigurationError(f"--picture={path}: expected a file, found a folder")
  if not path.parent.is_dir():
    raise ConfigurationError(f"--picture={path}: there is no folder {path.parent}")


def draw_if_wanted(draw: Callable[[Path], None]) -> None:
  """Draws into the file of `--picture`; where matplotlib is not installed, logs why there is no picture.

  Raises:
    ConfigurationError: the file cannot be written.
  """
  if not flags.FLAGS.picture:
    return
  try:
    draw(Path(flags.FLAGS.picture))
    log(f"\ndrawn to {flags.FLAGS.picture}")
  except ImportError:
    log('\nno picture: matplotlib is not installed (pip install "macaw_jax[plot]")')
  except OSError as error:
    raise ConfigurationError(f"--picture={flags.FLAGS.picture}: {error}") from error


def fail(*problems: str, code: int = BAD_INPUT) -> NoReturn:
  """Ends the program with one line a problem on stderr and an exit code, that of bad input if not given."""
  _end(code, *(f"error: {' '.join(problem.split())}" for problem in problems))


def _end(code: int, *lines: str) -> NoReturn:
  for line in lines:
    with suppress(OSError):  # a pipe that nobody reads
      print(line, file=sys.stderr, flush=True)
  sys.exit(code)


def launch_with_arguments(
  main: Callable[[list[str]], None], parse: Callable[[list[str]], list[str]] = flags.FLAGS
) -> None:
  """Runs `main` on the arguments beside the flags, which `parse` reads; bad input of any kind ends in `fail`.

  What it compiles is kept for the next start (`compilation_cache`).
  """

  def parse_or_fail(argv: list[str]) -> list[str]:
    try:
      return parse(argv)
    except (flags.Error, TypeError, ValueError) as error:
      fail(f"command line: {error}")

  def guarded(argv: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # Checkpoints log forty lines each, at the level of information.
    use_compilation_cache()
    try:
      main(argv[1:])
    except ConfigurationError as error:
      fail(*error.problems)
    except DatasetError as error:
      fail(str(error))
    except TrainingError as error:
      fail(*error.args, code=FAILURE)
    except OSError as error:  # A disk that is full, or a file that another program took away.
      fail(str(error), code=FAILURE)
    except Interrupted as interrupted:
      _end(EXIT_CODES[interrupted.signal], f"stopped by {interrupted.signal.name}")
    except KeyboardInterrupt:
      _end(EXIT_CODES[signal.SIGINT], "stopped by SIGINT")

  app.run(guarded, flags_parser=parse_or_fail)


def launch_with_config(
  main: Callable[[ml_collections.ConfigDict], None], check: Callable[[ml_collections.ConfigDict], object]
) -> None:
  """Runs `main` on the locked configuration of `--config`, fields replaced as the command line says.

  `check` is how `main` checks it, see `make_config`.
  """
  flag = flags.DEFINE_multi_string(
    "config", [], "Configuration file, as configs/macaw.py; --config.<field>=<value> replaces a field of it."
  )
  overrides: list[str] = []

  def parse(argv: list[str]) -> list[str]:
    program, *arguments = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
    found, others = take_overrides(arguments)
    overrides.extend(found)
    return flags.FLAGS([program, *others])

  def without_arguments(arguments: list[str]) -> None:
    if arguments:
      raise ConfigurationError(f"command line: unexpected argument {arguments[0]!r}; expected --<flag>=<value> only")
    main(make_config(flag.value, overrides, check))

  launch_with_arguments(without_arguments, parse)


def named_runs(arguments: Sequence[str], example: str) -> list[Path]:
  """The directories of runs that a command line names, itself or by patterns.

  Raises:
    ConfigurationError: there are none, or a name or pattern stands for none; `example` is a command that names some.
  """
  if not arguments:
    raise ConfigurationError(f"no runs; expected directories, as: python -m experiments.{example}")
  return find_runs(arguments)
