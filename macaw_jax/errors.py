"""The errors that a command ends with in one line a problem: bad input, and a run that cannot go on."""

import os
import traceback


class ConfigurationError(ValueError):
  """Input that cannot be used: a configuration, a run's directory, an argument of a command.

  Attributes:
    problems: all that is wrong with it, one line each.
  """

  def __init__(self, *problems: str):
    super().__init__("\n".join(problems))
    self.problems = problems


class TrainingError(RuntimeError):
  """A run that cannot go on, or that has come to its end with something lost; a line for each reason."""


def error_in(file: str, error: BaseException) -> str:
  """An error in the Python of a user as one line, with its last line in that file: `line 12: ValueError: ...`."""
  path = os.path.realpath(file)
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if os.path.realpath(frame.filename) == path]
  is_syntax = isinstance(error, SyntaxError) and error.filename is not None
  if is_syntax and os.path.realpath(error.filename) == path:  # type: ignore[attr-defined]
    lines.append(error.lineno)  # type: ignore[attr-defined]
  message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
  return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {message}"
