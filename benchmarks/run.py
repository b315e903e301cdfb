"""Runs all benchmarks one after the other, each in a process of its own, and collects what they find.

python -m benchmarks.run --size=small
python -m benchmarks.run --size=full --output=benchmarks/results

Every benchmark writes <output>/<name>.json; its table goes to the terminal. The small sizes take some minutes on two
cores and say whether anything is out of order; figures worth quoting come from the full ones, on a quiet machine.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks.child import stamped_lines
from benchmarks.sizes import BENCHMARKS

SIZE = flags.DEFINE_enum("size", "small", ["small", "full"], "How long to measure.")
OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder of the results.")
ONLY = flags.DEFINE_list("only", None, "Names of benchmarks; all if not given.")


def main(argv: Sequence[str]) -> None:
  """Runs what was asked for; exit code 1 if any of it failed."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  names = ONLY.value or list(BENCHMARKS)
  for name in names:
    if name not in BENCHMARKS:
      raise app.UsageError(f"--only: no benchmark {name!r}; expected some of {', '.join(BENCHMARKS)}")
  output = Path(OUTPUT.value).resolve()
  output.mkdir(parents=True, exist_ok=True)
  failed = [name for name in names if not run(name, output)]
  print(f"\nresults in {output}")
  if failed:
    sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, output: Path) -> bool:
  """Runs one benchmark at the chosen size and shows its lines; whether it ran to its end."""
  arguments: tuple[str, ...] = getattr(BENCHMARKS[name], SIZE.value)
  print(f"\n# {name}: python -m benchmarks.{name} {' '.join(arguments)}\n", flush=True)
  started = time.monotonic()
  try:
    for _, line in stamped_lines(["-m", f"benchmarks.{name}", *arguments, f"--output={output / name}.json"]):
      print(line, flush=True)
  except RuntimeError as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return False
  print(f"\n({time.monotonic() - started:.0f} s)", flush=True)
  return True


if __name__ == "__main__":
  app.run(main)
