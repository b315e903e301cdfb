"""Where a result came from: the commit, the source and the versions of the packages behind it."""

import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

# The packages that decide a number, or the meaning of a checkpoint's files.
PACKAGES = (
  "macaw_jax",
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "numpy",
  "mujoco",
  "mujoco-mjx",
  "brax",
  "orbax-checkpoint",
)
SUFFIXES = (".py", ".xml")  # code, and the models of bodies
DIGEST_DIGITS = 16
MOST_DIFFERENCES = 10


def package_versions() -> dict[str, str]:
  """Version of Python and of each package that decides a number."""
  return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def git_commit() -> str | None:
  """Hash of the commit, with `-dirty` after it where tracked files differ from it; None outside a repository."""
  command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  return result.stdout.strip()


@functools.cache
def code_identity(own_file: str = "") -> dict[str, Any]:
  """The code of this process: `versions` of the packages, and in `files` the start of each source file's SHA-256.

  `own_file` is the file of a family of one's own, where the tasks are of one; it is there by its name alone.

  Files are named by package and path in it (`macaw_jax/losses/values.py`), wherever the packages are installed; no
  repository is needed. A comment counts like code: which edits leave every number as it is cannot be told from the
  text. It is read once in a process.
  """
  package = Path(__file__).parents[1]
  commands = package.parent / "experiments"  # in a checkout; a wheel has them in the package
  files = {
    name: _digest(file)
    for folder in (package, *([commands] if commands.is_dir() else []))
    for name, file in _source_files(folder)
  }
  if own_file:
    files[Path(own_file).name] = _digest(Path(own_file))
  return {"versions": package_versions(), "files": dict(sorted(files.items()))}


def _digest(file: Path) -> str:
  return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGEST_DIGITS]


def code_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """The differences between two values of `code_identity`, one line each: `MOST_DIFFERENCES` and a count of the others.

  A part that is missing, as in a record of another release, counts as empty.
  """
  lines = _differences(before.get("versions", {}), now.get("versions", {}), "{name} {before} -> {now}")
  lines += _differences(before.get("files", {}), now.get("files", {}), "{name} changed")
  hidden = len(lines) - MOST_DIFFERENCES
  return lines if hidden <= 0 else [*lines[:MOST_DIFFERENCES], f"... and {hidden} more"]


def _differences(before: Mapping[str, str], now: Mapping[str, str], changed: str) -> list[str]:
  lines = []
  for name in list(dict.fromkeys([*before, *now])):
    if name not in now:
      lines.append(f"{name} removed")
    elif name not in before:
      lines.append(f"{name} added")
    elif before[name] != now[name]:
      lines.append(changed.format(name=name, before=before[name], now=now[name]))
  return lines


def _source_files(folder: Path) -> Iterator[tuple[str, Path]]:
  """The files below a folder, each with its path from beside it; nothing hidden, which editors leave behind."""
  for path in folder.rglob("*"):
    name = path.relative_to(folder.parent)
    if path.suffix in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in name.parts):
      yield name.as_posix(), path


# The settings of JAX that its numbers follow from beside the program.
JAX_SETTINGS = (
  "jax_default_matmul_precision",
  "jax_default_prng_impl",
  "jax_disable_most_optimizations",
  "jax_enable_x64",
  "jax_threefry_partitionable",
)


def arithmetic() -> dict[str, Any]:
  """The machine and the settings of JAX, which decide the last bits of numbers beside the code.

  XLA divides sums among as many threads as there are cores.
  """
  return {
    "device": jax.devices()[0].device_kind,
    "processor": _processor(),
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    **{name: str(jax.config.values.get(name)) for name in JAX_SETTINGS},
  }


def _processor() -> str:
  """The model's name, where the system tells it."""
  information = Path("/proc/cpuinfo")
  lines = information.read_text().splitlines() if information.exists() else []
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
