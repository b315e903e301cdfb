"""Lines for the terminal or a log file, which a full disk or a closed pipe must not turn into the end of a run.

Beside it, returns as all of these lines show them.
"""

import errno
import os
import sys
from collections.abc import Iterable


def log(line: str) -> None:
  """Prints a line at once, also where the output is a file.

  A full disk keeps it back. Where nobody reads any more, as after `head`, or when the terminal is gone, it is dropped,
  and so are all later ones. Neither ends anything.
  """
  try:
    print(line, flush=True)
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def returns_text(values: Iterable[float]) -> list[str]:
  """Returns, or scores, that stand side by side: with one decimal, or two where all are small, as those of a maze."""
  values = list(values)
  digits = 1 if any(abs(value) >= 10 for value in values) else 2
  return [f"{value:.{digits}f}" for value in values]
