"""What the entry points share: reading flags, compiled programs kept on the disk, one clear line for bad input."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import ml_collections
from absl import app, flags, logging

from experiments.compilation_cache import use_compilation_cache
from experiments.config_file import make_config, take_overrides
from experiments.configuration import ConfigurationError
from experiments.interruption import EXIT_CODES, Interrupted
from macaw_jax.data.manifest import DatasetError
from macaw_jax.evaluation.results import ResultError

FAILURE = 1
BAD_INPUT = 2


class TrainingError(RuntimeError):
  """A run that cannot go on, or that has come to its end with something lost; a line for each reason."""


def say(line: str) -> None:
  """Prints a line at once, also where the output is a file.

  A full disk keeps it back. Where nobody reads any more, as after `head`, or when the terminal is gone, it is dropped,
  and so are all later ones. Neither ends anything.
  """
  try:
    print(line, flush=True)
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(*problems: str, code: int = BAD_INPUT) -> NoReturn:
  """Ends the program with one line a problem on stderr and an exit code, that of bad input if not given."""
  _end(code, *(f"error: {' '.join(problem.split())}" for problem in problems))


def stop(number: signal.Signals) -> NoReturn:
  """Ends the program as the signal asks."""
  _end(EXIT_CODES[number], f"stopped by {number.name}")


def _end(code: int, *lines: str) -> NoReturn:
  for line in lines:
    with suppress(OSError):  # There need be nobody to read it.
      print(line, file=sys.stderr, flush=True)
  sys.exit(code)


Parse = Callable[[list[str]], list[str]]
"""Sets the flags of a program's arguments, and returns the program and what is no flag."""


def launch(main: Callable[[], None], parse: Parse = flags.FLAGS) -> None:
  """Runs `main` with flags parsed; anything that is no flag ends in `fail`, as bad input does."""

  def without_arguments(arguments: list[str]) -> None:
    if arguments:
      raise ConfigurationError(f"command line: unexpected argument {arguments[0]!r}; expected --<flag>=<value> only")
    main()

  launch_with_arguments(without_arguments, parse)


def launch_with_arguments(main: Callable[[list[str]], None], parse: Parse = flags.FLAGS) -> None:
  """Runs `main` on what stands beside the flags; bad flags, configurations and datasets end in `fail`.

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
    except (ConfigurationError, ResultError) as error:
      fail(*error.problems)
    except DatasetError as error:
      fail(str(error))
    except TrainingError as error:
      fail(*error.args, code=FAILURE)
    except OSError as error:  # A disk that is full, or a file that another program took away.
      fail(str(error), code=FAILURE)
    except Interrupted as interrupted:
      stop(interrupted.signal)
    except KeyboardInterrupt:
      stop(signal.SIGINT)

  app.run(guarded, flags_parser=parse_or_fail)


def launch_with_config(
  main: Callable[[ml_collections.ConfigDict], None], check: Callable[[ml_collections.ConfigDict], object]
) -> None:
  """Runs `main` on the locked configuration of `--config`, fields replaced as the command line says.

  Args:
    main: checks the configuration and does the work.
    check: what `main` checks it by, see `make_config`.
  """
  flag = ConfigFlag()
  launch(lambda: main(flag.make(check)), flag.parse)


class ConfigFlag:
  """The flag `--config`, with the fields of it that a command line replaces; to be made once, before parsing."""

  def __init__(self) -> None:
    self._flag = flags.DEFINE_multi_string(
      "config", [], "Configuration file, as configs/macaw.py; --config.<field>=<value> replaces a field of it."
    )
    self._overrides: list[str] = []

  def parse(self, argv: list[str]) -> list[str]:
    """Sets all flags, as `Parse`."""
    program, *arguments = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
    found, others = take_overrides(arguments)
    self._overrides.extend(found)
    return flags.FLAGS([program, *others])

  @property
  def is_given(self) -> bool:
    """Whether the command line has it, or a field of it."""
    return bool(self._flag.value or self._overrides)

  def make(
    self,
    check: Callable[[ml_collections.ConfigDict], object],
    prepare: Callable[[ml_collections.ConfigDict], object] = lambda config: None,
  ) -> ml_collections.ConfigDict:
    """The configuration, locked; as `make_config`, which raises `ConfigurationError`."""
    return make_config(self._flag.value, self._overrides, check, prepare)
