"""Carries what a machine without network lacks, as wheels of the versions in requirements.lock.

On that machine, from this repository (nothing but Python is needed):

  python benchmarks/carry_wheels.py missing         what is in the lock and not there, for other systems too

On a machine with network, where `packaging` and pip are installed:

  python benchmarks/carry_wheels.py download wheels mujoco mujoco-mjx brax --python=3.12

writes wheels/1, wheels/2, ... of at most 64 MiB each, checked against the hashes of the lock. Carry them over; there:

  python benchmarks/carry_wheels.py install /tmp/site wheels/1 wheels/2
  export PYTHONPATH=/tmp/site
  python -m benchmarks.accelerator

Only what is named is fetched, without what it depends on: `missing` lists that too.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
MOST_BYTES = 64 * 2**20
# pip compares these names literally: every age of the C library has its own.
PLATFORMS = ("manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{age}" for age in range(5, 41)))


def locked(text: str) -> dict[str, list[str]]:
  """The entries of a lock file by the name of the package; several where markers choose between versions."""
  entries: dict[str, list[str]] = {}
  for entry in text.replace("\\\n", " ").splitlines():
    if "==" in entry and not entry.startswith("#"):
      entries.setdefault(entry.split("==")[0].strip(), []).append(entry)
  return entries


def missing(names: Sequence[str]) -> list[str]:
  """Those packages that are not installed here."""

  def is_installed(name: str) -> bool:
    try:
      metadata.version(name)
    except metadata.PackageNotFoundError:
      return False
    return True

  return [name for name in names if not is_installed(name)]


def chosen(entries: dict[str, list[str]], names: Sequence[str], python: str) -> list[str]:
  """The entry of each name whose marker holds for a Python on Linux. Raises SystemExit for a name without one."""
  from packaging.requirements import Requirement

  machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
  lines = []
  for name in names:
    fitting = []
    for entry in entries.get(name, []):
      marker = Requirement(entry.split("--hash")[0]).marker
      if marker is None or marker.evaluate(machine | {"platform_system": "Linux", "platform_machine": "x86_64"}):
        fitting.append(entry)
    if not fitting:
      raise SystemExit(f"{name}: {LOCK.name} has no version of it for Python {python}")
    lines += fitting
  return lines


def download(folder: Path, names: Sequence[str], python: str) -> list[Path]:
  """Fetches the wheels and deals them out to folders of at most `MOST_BYTES`."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = chosen(locked(LOCK.read_text()), names, python)
  with tempfile.TemporaryDirectory(dir=folder) as scratch:
    wanted = Path(scratch, "wanted.txt")
    # The marker has been looked at, for another Python than this one.
    wanted.write_text("".join(f"{without_marker(line)}\n" for line in lines))
    platforms = [f"--platform={name}_x86_64" for name in PLATFORMS]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--python-version={python}", *platforms]
    command = [
      sys.executable,
      "-m",
      "pip",
      "download",
      "--quiet",
      *options,
      f"--dest={scratch}",
      f"--requirement={wanted}",
    ]
    run(command)
    parts = []
    for number, wheels in enumerate(packed({path: path.stat().st_size for path in Path(scratch).glob("*.whl")}), 1):
      parts.append(folder / str(number))
      parts[-1].mkdir(exist_ok=True)
      for wheel in wheels:
        wheel.replace(parts[-1] / wheel.name)
  return parts


def without_marker(entry: str) -> str:
  """An entry of the lock for any Python.

  >>> without_marker("jax==0.12 ; python_version >= '3.12'     --hash=sha256:ab")
  'jax==0.12 --hash=sha256:ab'
  """
  requirement, *hashes = entry.split("--hash=")
  return " ".join([requirement.split(";")[0].strip(), *(f"--hash={one.strip()}" for one in hashes)])


def packed(sizes: dict[Path, int], most: int = MOST_BYTES) -> list[list[Path]]:
  """Files in groups of at most `most` bytes, the largest first; a file that is larger has a group of its own."""
  groups: list[list[Path]] = []
  for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
    fitting = (group for group in groups if sum(sizes[other] for other in group) + sizes[path] <= most)
    if group := next(fitting, None):
      group.append(path)
    else:
      groups.append([path])
  return groups


def install(target: Path, folders: Sequence[Path]) -> None:
  """Installs all wheels of the folders into a folder of their own, from the files alone."""
  wheels = sorted(path for folder in folders for path in folder.glob("*.whl"))
  if not wheels:
    raise SystemExit(f"no wheels in {', '.join(map(str, folders))}")
  options = ["--no-index", "--no-deps", "--no-cache-dir", "--upgrade", f"--target={target}"]
  run([sys.executable, "-m", "pip", "install", "--quiet", *options, *map(str, wheels)])


def run(command: Sequence[str]) -> None:
  """Runs a command. Raises SystemExit with its exit code if it fails; it has said why."""
  if code := subprocess.run(command, check=False).returncode:
    raise SystemExit(code)


def main() -> None:
  """The command."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(dest="command", required=True)
  commands.add_parser("missing", help="packages of the lock that are not installed here")
  fetch = commands.add_parser("download", help="wheels into folders of at most 64 MiB")
  fetch.add_argument("folder", type=Path)
  fetch.add_argument("names", nargs="+")
  fetch.add_argument("--python", default="3.12", help="version on the other machine")
  put = commands.add_parser("install", help="wheels from folders into a folder of packages")
  put.add_argument("target", type=Path)
  put.add_argument("folders", nargs="+", type=Path)
  given = parser.parse_args()
  if given.command == "missing":
    print(*missing(list(locked(LOCK.read_text()))))
  elif given.command == "download":
    for part in download(given.folder, given.names, given.python):
      size = sum(path.stat().st_size for path in part.iterdir())
      print(f"{part}: {size / 2**20:.1f} MiB{', too large for one piece' if size > MOST_BYTES else ''}")
  else:
    install(given.target, given.folders)
    print(f"export PYTHONPATH={given.target}")


if __name__ == "__main__":
  main()
