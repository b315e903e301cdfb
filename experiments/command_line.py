"""The start of every command: its flags and its help, compiled programs kept on the disk, one clear line for bad input.

Flags are defined when a command starts, never on import: a program with flags of its own may import any module.
"""

import argparse
import faulthandler
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import ml_collections
from absl import logging

from macaw_jax.algorithms.settings import nearest_name
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
RETRIEVAL = {"on": (True,), "off": (False,), "both": (False, True)}  # what a flag asks for


class Parser(argparse.ArgumentParser):
  """Reads flags by their whole names, each at most once; `ConfigurationError` where the command line is wrong."""

  def __init__(self, **options: Any):
    super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

  def error(self, message: str) -> NoReturn:
    """Raises `ConfigurationError`."""
    raise ConfigurationError(f"command line: {self.prog}: {message}")

  def read(self, arguments: Sequence[str]) -> argparse.Namespace:
    """The values of a command line; `overrides` are those of `--config.<field>=<value>`, where there is a `--config`.

    Raises:
      ConfigurationError: a flag is unknown, twice there or without its value, or a value is wrong.
    """
    overrides: list[str] = []
    if "--config" in self._option_string_actions:
      overrides, arguments = take_overrides(arguments)
    if self._subparsers is not None:
      return self.parse_args(arguments)
    self._check_flags(arguments)
    return self.parse_intermixed_args(arguments, argparse.Namespace(overrides=overrides))

  def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
    """As of `argparse`, which calls it for the arguments of a subcommand."""
    if self._subparsers is None:
      self._check_flags(args)
    return super().parse_known_args(args, namespace)

  def _check_flags(self, arguments: Sequence[str]) -> None:
    known = self._option_string_actions
    texts: dict[str, list[str]] = {}
    for argument, following in pairwise([*arguments, ""]):
      name, separator, value = argument.partition("=")
      if not name.startswith("--") or name == "--":
        continue
      if name not in known:
        nearest = nearest_name(name, known)
        self.error(f"no flag {name}; {f'did you mean {nearest}?' if nearest else '--help lists all'}")
      takes_one = known[name].nargs != 0 and not isinstance(known[name], argparse._AppendAction)
      if takes_one:  # A switch that is there twice says the same.
        texts.setdefault(name, []).append(value if separator else following)
    for name, values in texts.items():
      if len(values) > 1:
        self.error(f"{name} is there {len(values)} times: {', '.join(values)}")


def make_parser(name: str, description: str | None) -> Parser:
  """The parser of the command `experiments.<name>`; its help begins with the description."""
  started_as = f"macaw {name}"
  program = started_as if sys.argv[0] == started_as else f"python -m {__package__}.{name}"
  return Parser(prog=program, description=description)


# Arguments that some commands share.


def add_config(parser: Parser) -> None:
  """Adds the configuration of a command, see `given_config`."""
  parser.add_argument(
    "--config",
    action="append",  # so that `make_config` says what is wrong with several, beside all else
    default=[],
    metavar="FILE",
    help="the configuration: a file as configs/macaw.py, with an argument as configs/macaw.py:cheetah_vel, or the name "
    "of one of this project as macaw; --config.<field>=<value> replaces a field of it, as --config.seed=1, and "
    "--config.<section>.<field>=<value> one of a section, as --config.training.steps=10000",
  )


def add_runs(parser: Parser) -> None:
  """Adds the directories of runs that a command reads, see `named_runs`."""
  parser.add_argument("runs", nargs="*", metavar="run", help='directory of a run, or a pattern as "runs/macaw-*"')


def add_retrieval(flags: Parser) -> None:
  """The flag that says whether agents adapt to retrieved rows: its value is what is wanted, one after the other."""
  flags.add_argument(
    "--retrieval",
    type=retrieval_choices,
    default=(None,),
    metavar="on|off|both",
    help="adapt to recorded rows that explain the rewards of a support, in its place (docs/context_shift.md); both: "
    "without and with it; as in the run if not given",
  )


def retrieval_choices(text: str) -> tuple[bool, ...]:
  """Whether there is retrieval, of each evaluation that a text asks for. Raises `ArgumentTypeError` for another one."""
  if text not in RETRIEVAL:
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(RETRIEVAL)}, got {text!r}")
  return RETRIEVAL[text]


def add_evaluation(parser: Parser) -> None:
  """Adds the number of episodes of a command that evaluates trained runs, and the seed of what it draws."""
  parser.add_argument("--episodes", type=int, metavar="N", help="episodes of each task; those of the run if not given")
  parser.add_argument(
    "--seed", type=seed_number, default=0, metavar="N", help="decides supports, starts and actions; 0 if not given"
  )


def add_picture(parser: Parser) -> None:
  """Adds the picture of a command that draws."""
  parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG of a picture; none if not given")


def positive(text: str) -> int:
  """The integer of at least 1 that a text says. Raises `ArgumentTypeError` if it says none."""
  if not (text.isdecimal() and int(text) >= 1):
    raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
  return int(text)


def seed_number(text: str) -> int:
  """The seed that a text says. Raises `ArgumentTypeError` if it says none."""
  if not (text.isdecimal() and int(text) <= MAX_SEED):
    raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2^32 - 1, got {text!r}")
  return int(text)


def given_config(
  given: argparse.Namespace, check: Callable[[ml_collections.ConfigDict], object]
) -> ml_collections.ConfigDict:
  """The locked configuration of `--config`, fields replaced as the command line says.

  `check` is how the command checks it, see `make_config`.
  """
  return make_config(given.config, given.overrides, check)


def named_runs(arguments: Sequence[str], example: str) -> list[Path]:
  """The directories of runs that a command line names, itself or by patterns.

  Raises:
    ConfigurationError: there are none, or a name or pattern stands for none; `example` is a command that names some.
  """
  if not arguments:
    raise ConfigurationError(f"no runs; expected directories, as: python -m experiments.{example}")
  return find_runs(arguments)


def check_picture(path: Path | None) -> None:
  """Raises `ConfigurationError` unless a picture can have this file; before what it shows is computed."""
  if path is None:
    return
  if path.suffix != ".png":
    raise ConfigurationError(f"--picture={path}: expected a file that ends in .png")
  if path.is_dir():
    raise ConfigurationError(f"--picture={path}: expected a file, found a folder")
  if not path.parent.is_dir():
    raise ConfigurationError(f"--picture={path}: there is no folder {path.parent}")


def draw_if_wanted(path: Path | None, draw: Callable[[Path], None]) -> None:
  """Draws into a file; where matplotlib is not installed, logs why there is no picture.

  Raises:
    ConfigurationError: the file cannot be written.
  """
  if path is None:
    return
  try:
    draw(path)
    log(f"\ndrawn to {path}")
  except ImportError:
    log('\nno picture: matplotlib is not installed (pip install "macaw_jax[plot]")')
  except OSError as error:
    raise ConfigurationError(f"--picture={path}: {error}") from error


def fail(*problems: str, code: int = BAD_INPUT) -> NoReturn:
  """Ends the program with one line a problem on stderr and an exit code, that of bad input if not given."""
  _end(code, *(f"error: {' '.join(problem.split())}" for problem in problems))


def _end(code: int, *lines: str) -> NoReturn:
  for line in lines:
    with suppress(OSError):  # a pipe that nobody reads
      print(line, file=sys.stderr, flush=True)
  sys.exit(code)


def launch(main: Callable[[argparse.Namespace], None], parser: Parser) -> None:
  """Runs `main` on what the command line says; bad input of any kind ends in `fail`.

  What it compiles is kept for the next start (`compilation_cache`).
  """
  with suppress(OSError):  # a standard error that is no file
    faulthandler.enable()  # A crash in a native library says where it was.
  logging.set_verbosity(logging.WARNING)  # Checkpoints log forty lines each, at the level of information.
  try:
    given = parser.read(sys.argv[1:])
    use_compilation_cache()
    main(given)
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
