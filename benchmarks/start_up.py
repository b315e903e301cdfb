"""Seconds from the command to the first meta-update, and what they go into.

python -m benchmarks.start_up

Starts `python -m experiments.run --config=configs/macaw.py` in a process of its own, with one update a compiled call
and few episodes in the evaluation before it, reads when each line of its output appears, and ends it after the first
update. A cold start has an empty compilation cache, a warm one that of the cold start before it; on one core.
"""

if __name__ == "__main__":
  from benchmarks.measure import pin

  pin()

import tempfile
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from benchmarks.child import stamped_lines
from benchmarks.measure import Spread, show, spread, table, write_results

EPISODES = flags.DEFINE_integer("episodes", 2, "Episodes of a task in the first evaluation.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Cold and warm starts.", lower_bound=1)
OPTION = flags.DEFINE_multi_string(
  "option", [], "Changes the run, as --option=--config.algorithm.layer=dense; repeatable."
)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

# What a run says first, and what it has just done then.
PHASES = {
  "macaw on ": "imports",
  "evaluating ": "data and first parameters",
  "compiling ": "first evaluation",
  "compiled ": "compilation of the update",
  "step ": "first update",
}


def start(cache: str, run_directory: str) -> dict[str, float]:
  """Seconds of each phase of one start."""
  arguments = ["-m", "experiments.run", "--config=configs/macaw.py", f"--config.output_directory={run_directory}"]
  arguments += [f"--config.evaluation.episodes={EPISODES.value}", "--config.training.log_every=1", *OPTION.value]
  lines = stamped_lines(arguments, {"XDG_CACHE_HOME": cache}, without=("JAX_COMPILATION_CACHE_DIR",))
  seconds: dict[str, float] = {}
  for stamp, line in lines:
    for beginning, phase in PHASES.items():
      if line.startswith(beginning):
        seconds[phase] = stamp - sum(seconds.values())
    if "first update" in seconds:
      break
  lines.close()
  return seconds | {"all": sum(seconds.values())}


def starts() -> dict[str, list[dict[str, float]]]:
  """All starts, cold and warm in turn."""
  found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
  for _ in range(REPEATS.value):
    with tempfile.TemporaryDirectory() as directory:
      for kind, seconds in found.items():
        seconds.append(start(f"{directory}/cache", f"{directory}/{kind}"))
  return found


def main(argv: Sequence[str]) -> None:
  """Measures, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  spreads: dict[str, dict[str, Spread]] = {
    kind: {phase: spread([one[phase] for one in of_kind]) for phase in of_kind[0]} for kind, of_kind in starts().items()
  }
  rows: list[dict[str, Any]] = [
    {"start": kind, "ratio": phases["all"].median / spreads["cold"]["all"].median}
    | {"seconds": {phase: values._asdict() for phase, values in phases.items()}}
    for kind, phases in spreads.items()
  ]
  print(f"seconds to the first meta-update, {REPEATS.value} starts of each kind")
  print(table([{"phase": phase} | {kind: show(spreads[kind][phase]) for kind in spreads} for phase in spreads["cold"]]))
  print(f"warm / cold: {rows[1]['ratio']:.2f}")
  if OUTPUT.value:
    write_results(OUTPUT.value, "start_up", rows)


if __name__ == "__main__":
  app.run(main)
