"""One run at a time in a directory.

The lock is the operating system's (`flock`) on a file that names its holder. It ends with the process that holds it,
however that ends: a file without the lock is all that a killed run leaves, and the next run says so and takes over.
"""

import datetime
import errno
import fcntl
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiments.configuration import ConfigurationError

LOCK = "lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def hold_lock(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
  """Keeps other runs out of `directory` while it is entered.

  Args:
    directory: of the run.
    say: takes a line about a lock that a run left behind, or about a file system that has no locks.

  Raises:
    ConfigurationError: another process holds the lock.
  """
  with (directory / LOCK).open("a+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      holder = _holder(directory) or "another run"
      raise ConfigurationError(
        f"config.output_directory: {directory} is in use by {holder}; wait for it to end, or choose another"
      ) from error
    except OSError as error:
      if error.errno not in _NO_LOCKS_HERE:
        raise
      say(f"WARNING: the file system of {directory} has no locks: nothing keeps a second run out of it")
    if left := _holder(directory):
      say(f"{directory}: its lock was left by {left}, which did not come to its end; taking over")
    _write(file.fileno(), f"process {os.getpid()} on {platform.node()}, started {_now()}: {' '.join(sys.argv)}")
    try:
      yield
    finally:
      _write(file.fileno(), "")  # An empty file: its run came to its end.


def _holder(directory: Path) -> str:
  return (directory / LOCK).read_text(errors="replace").strip()


def _write(descriptor: int, text: str) -> None:
  """Writes who holds the lock, for people; it holds without that too, on a disk that is full."""
  with suppress(OSError):
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
