"""What the entry points share: reading flags, compiled programs kept on the disk, one clear line for bad input."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.compilation_cache import use_compilation_cache
from experiments.configuration import ConfigurationError
from experiments.interruption import EXIT_CODES, Interrupted
from macaw_jax.data.manifest import DatasetError

FAILURE = 1
BAD_INPUT = 2


# What a disk says that takes no more.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TrainingError(RuntimeError):
  """A run that cannot go on, or that has come to its end with something lost; a line for each reason."""


def say(line: str) -> None:
  """Prints a line at once, also where the output is a file. A full disk keeps it back, and ends nothing."""
  try:
    print(line, flush=True)
  except OSError as error:
    if error.errno not in FULL_DISK:
      raise


def fail(*problems: str, code: int = BAD_INPUT) -> NoReturn:
  """Ends the program with one line a problem on stderr and an exit code, that of bad input if not given."""
  for problem in problems:
    print(f"error: {' '.join(problem.split())}", file=sys.stderr)
  sys.exit(code)


def launch(main: Callable[[], None]) -> None:
  """Runs `main` with flags parsed; anything that is no flag ends in `fail`, as bad input does."""

  def without_arguments(arguments: list[str]) -> None:
    if arguments:
      raise ConfigurationError(f"command line: unexpected argument {arguments[0]!r}; expected --<flag>=<value> only")
    main()

  launch_with_arguments(without_arguments)


def launch_with_arguments(main: Callable[[list[str]], None]) -> None:
  """Runs `main` on what stands beside the flags; bad flags, configurations and datasets end in `fail`.

  What it compiles is kept for the next start (`compilation_cache`).
  """

  def parse(argv: list[str]) -> list[str]:
    try:
      return flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # of the configuration; the message names the nearest field it has
      fail(f"command line: the configuration has no field {_innermost(error)}")
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
    except Interrupted as interrupted:
      print(f"stopped by {interrupted.signal.name}", file=sys.stderr)
      sys.exit(EXIT_CODES[interrupted.signal])
    except KeyboardInterrupt:
      print("stopped", file=sys.stderr)
      sys.exit(EXIT_CODES[signal.SIGINT])
    except BrokenPipeError:  # whoever reads the output, as `head`, has read enough
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it flushes

  app.run(guarded, flags_parser=parse)


def launch_with_config(main: Callable[[ml_collections.ConfigDict], None]) -> None:
  """Runs `main` on the configuration of `--config`, fields replaced as the command line says."""
  flag = config_flags.DEFINE_config_file("config", None, "Configuration file, as configs/macaw.py.")
  launch(lambda: main(config_of(flag)))


def config_of(flag: flags.FlagHolder[ml_collections.ConfigDict]) -> ml_collections.ConfigDict:
  """The configuration of a `config_flags` flag.

  Raises:
    ConfigurationError: no file was given, or it cannot be read.
  """
  config = flag.value
  if config is None:
    raise ConfigurationError("no configuration; expected --config=configs/<name>.py")
  file, _, _ = config_flags.get_config_filename(flags.FLAGS[flag.name]).partition(":")  # <file>:<argument>
  if not Path(file).is_file():
    raise ConfigurationError(f"--config={file}: no such file; expected --config=configs/<name>.py")
  if not isinstance(config, ml_collections.ConfigDict):
    # The library hands back an object that raises the reason when it is used.
    try:
      config.to_dict()
    except Exception as error:
      raise ConfigurationError(f"--config: {error}") from error
  return config


def _innermost(error: BaseException) -> str:
  while error.args and isinstance(error.args[0], BaseException):
    error = error.args[0]
  return str(error.args[0] if error.args else error)
