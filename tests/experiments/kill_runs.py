"""Kills runs at random times, starts them again, and compares what they end in with a run that nobody disturbed.

python tests/experiments/kill_runs.py --kills=60
python tests/experiments/kill_runs.py --kills=24 --kind=replayed --seeds=2

Every other kill comes during a save, as soon as an unfinished checkpoint can be seen; the others come after a random
time. A killed run is started again with the same command until it ends; then the next run begins. Fails if a start
does not continue, or if the last checkpoint, the rows of metrics (but for times) or the results differ from those of
the undisturbed run in a single bit.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from miniatures import KINDS, end_of, write_point_robot  # noqa: E402

from macaw_jax.training.interruption import EXIT_CODES  # noqa: E402

SECONDS = 300.0  # Far above what a run takes; one that hangs fails.
# The last line that a run has said, and where it was then.
PHASES = {
  "compiling": "compiling",
  "compiled": "training",
  "step": "training",
  "evaluation": "training",
  "evaluating": "evaluating",
}


class Kill(NamedTuple):
  """One start that was ended."""

  phase: str
  code: int


def write_configuration(directory: Path, kind: str, data: Path, **training: int) -> Path:
  """Writes the file of a configuration in miniature, with these changes of its `training`."""
  file = directory / f"{kind}_config.py"
  file.write_text(
    f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
    "from miniatures import make_config\n"
    "def get_config():\n"
    f"  config = make_config({kind!r}, {str(data)!r}, '-').unlock()\n"
    f"  config.training.update({training!r})\n"
    "  return config\n"
  )
  return file


def start(
  file: Path, output: Path, compiled: Path, *flags: str, stdout: int | None = None, **variables: str
) -> subprocess.Popen[str]:
  """A run in a process of its own, with these variables; what it says goes to a file unless `stdout` is given."""
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(compiled),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-u", "-m", "experiments.run", f"--config={file}", f"--config.output_directory={output}"]
  with output.with_suffix(".log").open("a") as log:
    return subprocess.Popen(
      [*command, *flags],
      env=environment | variables,
      cwd=TESTS.parent,
      stdout=log if stdout is None else stdout,
      stderr=subprocess.STDOUT,
      text=True,
    )


def said_by(output: Path) -> str:
  """What all starts of a run have said."""
  log = output.with_suffix(".log")
  return log.read_text() if log.exists() else ""


def is_saving(output: Path) -> bool:
  """Whether an unfinished checkpoint can be seen, of the run or of a member."""
  return any(output.glob("checkpoints/saving-*")) or any(output.glob("*/checkpoints/saving-*"))


def phase_of(output: Path, lines_before: int) -> str:
  """What the run was doing when it was ended."""
  if is_saving(output):
    return "saving"
  words = [line.split()[0] for line in said_by(output).splitlines()[lines_before:] if line.split()]
  known = [PHASES[word] for word in words if word in PHASES]
  return known[-1] if known else "starting"


def kill_once(process: subprocess.Popen[str], output: Path, chance: random.Random, number: int, longest: float) -> None:
  """Ends a run by signal `number` at a random moment, if it has not come to its end before that."""
  deadline = time.monotonic() + SECONDS
  if chance.random() < 0.5:
    saves = chance.randint(1, 8)  # Which save of this start to hit.
    before = False
    while process.poll() is None and saves > 0 and time.monotonic() < deadline:
      now = is_saving(output)
      saves -= now and not before
      before = now
      time.sleep(0.0005)
  else:
    wait = chance.uniform(0.0, longest)
    while process.poll() is None and wait > 0:
      time.sleep(0.01)
      wait -= 0.01
  if process.poll() is None:
    process.send_signal(number)


def finish(process: subprocess.Popen[str], output: Path) -> None:
  """Lets a run come to its end."""
  if code := process.wait(timeout=SECONDS):
    raise AssertionError(f"a start ended with {code}:\n" + said_by(output)[-2000:])


def ends_of(output: Path) -> dict[str, dict[str, object]]:
  """All that two equal runs have in common: of the run, or by the name of the member."""
  places = [output] if (output / "checkpoints").exists() else sorted(path for path in output.iterdir() if path.is_dir())
  return {place.name if place != output else "": end_of(place) for place in places}


def check(output: Path, reference: Path) -> None:
  """Raises `AssertionError` if a run has ended otherwise than the reference."""
  if ends_of(output) != ends_of(reference):
    raise AssertionError(f"{output} and {reference} differ")


def kill_runs(
  directory: Path, kind: str, kills: int, steps: int, seed: int, number: int, flags: Sequence[str]
) -> Iterator[tuple[Path, list[Kill]]]:
  """Yields each run that has come to its end, with the kills that it has survived.

  Raises:
    AssertionError: a start failed otherwise than by the signal, or a run ended in something else than the reference.
  """
  chance = random.Random(seed)
  write_point_robot(directory / "data")
  often = {"steps": steps, "evaluate_every": 40, "checkpoint_every": 10}
  often["updates_per_iteration" if kind == "replayed" else "log_every"] = 10
  file, compiled = write_configuration(directory, kind, directory / "data", **often), directory / "compiled"

  def begin(output: Path) -> subprocess.Popen[str]:
    return start(file, output, compiled, *flags)

  # The first compiles what all others read from the cache.
  finish(begin(directory / "reference"), directory / "reference")
  started = time.monotonic()
  finish(begin(directory / "again"), directory / "again")
  longest = 1.2 * (time.monotonic() - started)
  check(directory / "again", directory / "reference")
  left, index = kills, 0
  while left > 0:
    output, survived = directory / f"run_{index}", list[Kill]()
    while left > 0:
      before = len(said_by(output).splitlines())
      process = begin(output)
      kill_once(process, output, chance, number, longest)
      code = process.wait(timeout=SECONDS)
      if code == 0:
        break
      if code not in (-number, EXIT_CODES.get(signal.Signals(number))):
        raise AssertionError(f"a start ended with {code}:\n" + said_by(output)[-2000:])
      survived.append(Kill(phase_of(output, before), code))
      left -= 1
    finish(begin(output), output)
    check(output, directory / "reference")
    yield output, survived
    index += 1


def main(arguments: Sequence[str] | None = None) -> None:
  """Kills, and prints a table."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--kills", type=int, default=60)
  parser.add_argument("--kind", default="recorded", choices=KINDS, help="where batches come from")
  parser.add_argument("--steps", type=int, default=400, help="updates of a run")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seeds", type=int, default=1, help="members of the population")
  parser.add_argument("--signal", default="SIGKILL", choices=["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1"])
  options = parser.parse_args(arguments)
  phases: collections.Counter[str] = collections.Counter()
  runs = 0
  with tempfile.TemporaryDirectory() as directory:
    number = signal.Signals[options.signal]
    flags = [f"--config.population.seeds={options.seeds}"]
    for output, survived in kill_runs(
      Path(directory), options.kind, options.kills, options.steps, options.seed, number, flags
    ):
      phases.update(kill.phase for kill in survived)
      runs += 1
      told = ", ".join(kill.phase for kill in survived)
      print(f"{output.name}: {len(survived)} kills ({told}); bit-equal", flush=True)
  print(f"\n{options.signal}: {sum(phases.values())} kills of {runs} runs, each continued, each bit-equal in the end")
  for phase, count in phases.most_common():
    print(f"  {phase:<12} {count}")


if __name__ == "__main__":
  main()
