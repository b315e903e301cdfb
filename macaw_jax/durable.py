"""Files that are whole on the disk, or not there, after a kill or a power cut at any moment."""

import os
from pathlib import Path

PARTIAL = ".partial"  # The end of the name of a file that is not complete yet.


def write_durably(path: str | os.PathLike[str], data: bytes) -> None:
  """Makes `data` the content of the file in one step; returns when the disk has it.

  It is written beside its place, as `.<name>.partial`, flushed and renamed.

  Raises:
    OSError: the disk does not take it; what was there before still is.
  """
  path = Path(path)
  partial = path.with_name(f".{path.name}{PARTIAL}")
  partial.write_bytes(data)
  flush(partial)
  partial.replace(path)
  flush(path.parent)


def flush(path: str | os.PathLike[str]) -> None:
  """Waits until the disk has a file, or the names in a directory."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
