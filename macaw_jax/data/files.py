"""A directory that is whole or not there, and digests of files."""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from macaw_jax.data.manifest import DatasetError
from macaw_jax.durable import flush


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
  """A directory to write into, beside `directory` and hidden, which gets that name when the block ends.

  All in it is flushed to disk first. If the block fails, it is removed.

  Raises:
    DatasetError: `directory` exists, or the disk refuses.
  """
  if os.path.lexists(directory):
    raise DatasetError(f"{directory}: exists already; a dataset is never overwritten. Remove it or name another.")
  partial = directory.parent / f".{directory.name}.{uuid.uuid4().hex}.partial"
  try:
    partial.mkdir(parents=True)
    yield partial
    for path in [*partial.rglob("*"), partial]:
      flush(path)
    partial.rename(directory)
    flush(directory.parent)
  except OSError as error:
    raise DatasetError(f"{directory}: could not be written: {error}") from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def sha256(path: Path) -> str:
  """Digest of a file's content, in hexadecimal digits. Raises `OSError` if it cannot be read."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
