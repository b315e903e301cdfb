"""Kills runs at random times, starts them again, and compares what they end in with a run that nobody disturbed.

python tests/experiments/kill_runs.py --kills=60

Every other kill comes during a save, as soon as an unfinished checkpoint can be seen; the others come after a random
time. A killed run is started again with the same command until it ends; then the next run begins. Fails if a start
does not continue, or if the last checkpoint, the rows of metrics (but for times) or the results differ from those of
the undisturbed run in a single bit.
"""

import argparse
import collections
import json
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

from experiments.interruption import EXIT_CODES
from macaw_jax.training.checkpoint_record import read_record
from macaw_jax.training.metrics import read_rows

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
TIMES = ("wall_time", "steps_per_second")
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


def write_configuration(directory: Path, steps: int) -> Path:
  """A configuration file of a run in miniature, with data of its own: a save every ten updates."""
  from miniature_run import write_point_robot

  write_point_robot(directory / "data")
  file = directory / "miniature_config.py"
  file.write_text(
    f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
    "from miniature_run import make_miniature\n"
    "def get_config():\n"
    f"  config = make_miniature({str(directory / 'data')!r}, '-').unlock()\n"
    f"  config.training.update({{'steps': {steps}, 'log_every': 10, 'evaluate_every': 40, 'checkpoint_every': 10}})\n"
    "  return config\n"
  )
  return file


def start(file: Path, output: Path, *flags: str, stdout: int | None = None, **variables: str) -> subprocess.Popen[str]:
  """A run in a process of its own, with these variables; what it says goes to a file unless `stdout` is given."""
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(file.parent / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-u", "-m", "experiments.run", f"--config={file}", f"--config.output_directory={output}"]
  with output.with_suffix(".log").open("a") as log:
    return subprocess.Popen(
      [*command, *flags],
      env=environment | variables,
      cwd=REPOSITORY,
      stdout=log if stdout is None else stdout,
      stderr=subprocess.STDOUT,
      text=True,
    )


def log_lines(output: Path) -> list[str]:
  """What all starts of a run have said."""
  return output.with_suffix(".log").read_text().splitlines()


def is_saving(output: Path) -> bool:
  """Whether an unfinished checkpoint can be seen, of the run or of a member."""
  return any(output.glob("checkpoints/saving-*")) or any(output.glob("*/checkpoints/saving-*"))


def phase_of(output: Path, said_before: int) -> str:
  """What the run was doing when it was ended."""
  if is_saving(output):
    return "saving"
  words = [line.split()[0] for line in log_lines(output)[said_before:] if line.split()]
  known = [PHASES[word] for word in words if word in PHASES]
  return known[-1] if known else "starting"


def kill_once(
  file: Path, output: Path, chance: random.Random, number: int, longest: float, flags: Sequence[str]
) -> Kill | None:
  """Starts a run and ends it by signal `number`; None if it had come to its end before that."""
  said_before = len(log_lines(output)) if output.with_suffix(".log").exists() else 0
  process = start(file, output, *flags)
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
  code = process.wait(timeout=SECONDS)
  return None if code == 0 else Kill(phase_of(output, said_before), code)


def finish(file: Path, output: Path, *flags: str) -> None:
  """Lets a run come to its end."""
  code = start(file, output, *flags).wait(timeout=SECONDS)
  if code != 0:
    raise AssertionError(f"a start ended with {code}:\n" + "\n".join(log_lines(output)[-20:]))


def end_states(output: Path) -> dict[str, dict[str, object]]:
  """All that two equal runs have in common: of the run, or by the name of the member."""
  places = [output] if (output / "checkpoints").exists() else sorted(path for path in output.iterdir() if path.is_dir())
  return {place.name if place != output else "": end_state(place) for place in places}


def end_state(output: Path) -> dict[str, object]:
  """All that two equal runs, or members, have in common."""
  steps = sorted(int(path.name) for path in (output / "checkpoints").iterdir() if path.name.isdigit())
  record = read_record(output / "checkpoints" / str(steps[-1]))
  rows = [{name: row[name] for name in row if name not in TIMES} for row in read_rows(output / "metrics.jsonl")]
  results = json.loads((output / "results.json").read_text())
  return {"step": steps[-1], "leaves": record.leaves, "note": record.note, "rows": rows, "results": results["rows"]}


def differences(output: Path, reference: Path) -> list[str]:
  """The names of what differs between two runs."""
  found, expected = end_states(output), end_states(reference)
  if found.keys() != expected.keys():
    return ["members"]
  return [
    " ".join(filter(None, (member, name)))
    for member in expected
    for name in expected[member]
    if found[member][name] != expected[member][name]
  ]


def kill_runs(
  directory: Path, kills: int, steps: int, seed: int, number: int = signal.SIGKILL, flags: Sequence[str] = ()
) -> Iterator[tuple[Path, list[Kill]]]:
  """Yields each run that has come to its end, with the kills that it has survived.

  Raises:
    AssertionError: a start failed otherwise than by the signal, or a run ended in something else than the reference.
  """
  chance = random.Random(seed)
  file = write_configuration(directory, steps)
  finish(file, directory / "reference", *flags)  # The first compiles what all others read from the cache.
  started = time.monotonic()
  finish(file, directory / "again", *flags)
  longest = 1.2 * (time.monotonic() - started)
  check(directory / "again", directory / "reference")
  left, index = kills, 0
  while left > 0:
    output, survived = directory / f"run_{index}", []
    while left > 0 and (kill := kill_once(file, output, chance, number, longest, flags)) is not None:
      if kill.code not in (-number, EXIT_CODES.get(number)):
        raise AssertionError(f"a start ended with {kill.code}:\n" + "\n".join(log_lines(output)[-20:]))
      survived.append(kill)
      left -= 1
    finish(file, output, *flags)
    check(output, directory / "reference")
    yield output, survived
    index += 1


def check(output: Path, reference: Path) -> None:
  """Raises `AssertionError` if a run has ended otherwise than the reference."""
  if found := differences(output, reference):
    raise AssertionError(f"{output} and {reference} differ in {', '.join(found)}")


def main(arguments: Sequence[str] | None = None) -> None:
  """Kills, and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=60)
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
    for output, survived in kill_runs(Path(directory), options.kills, options.steps, options.seed, number, flags):
      phases.update(kill.phase for kill in survived)
      runs += 1
      told = ", ".join(kill.phase for kill in survived)
      print(f"{output.name}: {len(survived)} kills ({told}); bit-equal", flush=True)
  print(f"\n{options.signal}: {sum(phases.values())} kills of {runs} runs, each continued, each bit-equal in the end")
  for phase, count in phases.most_common():
    print(f"  {phase:<12} {count}")


if __name__ == "__main__":
  main()
