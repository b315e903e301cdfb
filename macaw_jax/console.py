"""Lines for the terminal or a log file, which a full disk or a closed pipe must not turn into the end of a run."""

import errno
import os
import sys


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
