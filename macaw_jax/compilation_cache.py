"""Compiled programs stay on the disk, so that a command that starts again reads them instead of compiling them.

They are machine code that JAX runs as it finds it: the folder must be this user's alone, and its entries undamaged.
"""

import os
import stat
import sys
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import jax

ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how what Zstandard has compressed begins


def cache_directory() -> Path:
  """Where this user's programs are kept: macaw_jax/xla in $XDG_CACHE_HOME, or in ~/.cache.

  Raises:
    RuntimeError: the user has no home directory.
  """
  stated = os.environ.get("XDG_CACHE_HOME", "")
  # The XDG specification has relative paths ignored.
  base = Path(stated) if os.path.isabs(stated) else Path.home() / ".cache"
  return base / "macaw_jax" / "xla"


def use_compilation_cache() -> None:
  """Lets JAX keep what it compiles in `cache_directory()`; says so in one line where that cannot be written.

  Does nothing where the user has decided: JAX itself reads JAX_COMPILATION_CACHE_DIR (an empty one means none) and
  JAX_ENABLE_COMPILATION_CACHE=false. Programs of another JAX version, processor or option have other names, and the
  directory can be deleted at any time. Damaged entries are removed first.
  """
  options = jax.config.values
  if options["jax_compilation_cache_dir"] is not None or not options["jax_enable_compilation_cache"]:
    return
  try:
    directory = cache_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(directory)
    tempfile.TemporaryFile(dir=directory).close()
    remove_damaged(directory)
  except (OSError, RuntimeError) as error:
    print(f"no compilation cache, every start compiles anew: {error}", file=sys.stderr)
    return
  jax.config.update("jax_compilation_cache_dir", str(directory))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    # All of them: a run has some twenty programs in a megabyte, and many small ones take seconds together.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def remove_damaged(directory: Path) -> None:
  """Removes the entries whose checksum is wrong, and says how many there were.

  JAX writes an entry in place, and a kill meanwhile leaves a part of it. It notices that by itself, warns and compiles
  anew, but never replaces an entry: without this, every later start would do the same. Reading all of them takes half
  a millisecond each. Where JAX compresses with Zstandard (from Python 3.14 on, or with the package zstandard), entries
  have no checksum and are left as they are.
  """
  num_damaged = 0
  for path in directory.glob("*-cache"):
    with suppress(FileNotFoundError):  # Another command may be removing it.
      if _is_damaged(path.read_bytes()):
        path.unlink()
        num_damaged += 1
  if num_damaged:
    print(f"compilation cache: {num_damaged} damaged, removed and compiled anew, in {directory}", file=sys.stderr)


def _is_damaged(entry: bytes) -> bool:
  if entry.startswith(ZSTANDARD):
    return False
  try:
    zlib.decompress(entry)
  except zlib.error:
    return True
  return False


def _check_private(directory: Path) -> None:
  """Raises `PermissionError` if someone else could put programs there: they would run as this user."""
  status = directory.stat()
  if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise PermissionError(
      f"{directory} is not this user's, or others may write there (mode {status.st_mode & 0o777:o})"
    )
