"""Compiled programs stay on the disk, so that a command that starts again reads them instead of compiling them."""

import os
import sys
import tempfile
from pathlib import Path

import jax


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
  directory can be deleted at any time.
  """
  options = jax.config.values
  if options["jax_compilation_cache_dir"] is not None or not options["jax_enable_compilation_cache"]:
    return
  try:
    directory = cache_directory()
    # For this user alone: whoever can write there decides what his programs do.
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=directory).close()
  except (OSError, RuntimeError) as error:
    print(f"no compilation cache, every start compiles anew: {error}", file=sys.stderr)
    return
  jax.config.update("jax_compilation_cache_dir", str(directory))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    # All of them: a run has some twenty programs in a megabyte, and many small ones take seconds together.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
