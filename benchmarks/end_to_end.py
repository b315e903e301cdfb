"""Seconds and updates from the command to a score: whole runs of MACAW on the starter data.

python -m benchmarks.end_to_end
python -m benchmarks.end_to_end --seeds=10 --score=95

Each seed is `python -m experiments.run --config=configs/macaw.py` in a process of its own on one core, one after the
other, with an evaluation every 100 updates; evaluations count in the time. The score is the mean over the test tasks
after adaptation (0 for random actions, 100 for the agent that collected the data). Programs may come from the
compilation cache: the seconds are those of a user who has run it before, but for the first seed on a new machine.
"""

if __name__ == "__main__":
  from benchmarks.measure import pin

  pin()

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags, logging

from benchmarks.child import stamped_lines
from benchmarks.measure import median_and_range, table, write_results
from macaw_jax.training.metrics import read_rows

SEEDS = flags.DEFINE_integer("seeds", 5, "Runs, with the seeds 0, 1, ...", lower_bound=1)
SCORE = flags.DEFINE_float("score", 90.0, "The score to reach.")
STEPS = flags.DEFINE_integer("steps", 5_000, "Updates of a run.", lower_bound=1)
EVALUATE_EVERY = flags.DEFINE_integer(
  "evaluate_every", 100, "Updates between evaluations; divides steps.", lower_bound=1
)
EPISODES = flags.DEFINE_integer("episodes", 20, "Episodes of a task in an evaluation.", lower_bound=1)
OPTION = flags.DEFINE_multi_string(
  "option", [], "Changes the run, as --option=--config.algorithm.layer=dense; repeatable."
)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

EVALUATED = "evaluation after "  # begins the line that a run prints after an evaluation


class Point(NamedTuple):
  """An evaluation."""

  updates: int
  seconds: float  # since the command
  score: float


def run_seed(seed: int) -> list[Point]:
  """The evaluations of a run, the one of the untrained agent first."""
  training = {"steps": STEPS.value, "evaluate_every": EVALUATE_EVERY.value, "checkpoint_every": STEPS.value}
  training["log_every"] = min(100, EVALUATE_EVERY.value)
  with tempfile.TemporaryDirectory() as directory:
    run_directory = Path(directory) / "run"
    arguments = ["-m", "experiments.run", "--config=configs/macaw.py", f"--config.seed={seed}"]
    arguments += [f"--config.output_directory={run_directory}", f"--config.evaluation.episodes={EPISODES.value}"]
    arguments += [f"--config.training.{name}={value}" for name, value in training.items()] + OPTION.value
    seconds = {}
    for stamp, line in stamped_lines(arguments):
      if line.startswith(EVALUATED):
        seconds[int(line.removeprefix(EVALUATED).split()[0])] = stamp
    rows = [row for row in read_rows(run_directory / "metrics.jsonl") if "test/score_after" in row]
  return [Point(row["step"], seconds[row["step"]], row["test/score_after"]) for row in rows]


def first_at(points: Sequence[Point], score: float) -> Point | None:
  """The first evaluation with at least this score."""
  return next((point for point in points if point.score >= score), None)


def main(argv: Sequence[str]) -> None:
  """Runs all seeds, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  rows: list[dict[str, Any]] = []
  for seed in range(SEEDS.value):
    points = run_seed(seed)
    reached, last = first_at(points, SCORE.value), points[-1]
    rows.append(
      {
        "seed": seed,
        "score_wanted": SCORE.value,
        "reached": reached and reached._asdict(),
        "end": last._asdict(),
        "evaluations": [point._asdict() for point in points],
      }
    )
  reached_by = [row["reached"] for row in rows if row["reached"]]
  print(
    f"score {SCORE.value:g} is first reached by {len(reached_by)} of {SEEDS.value} seeds; median (range) over seeds"
  )
  points_of = {f"first at {SCORE.value:g}": reached_by, "at the end": [row["end"] for row in rows]}
  shown = [
    {"evaluation": name}
    | {
      label: median_and_range([point[field] for point in points], digits)
      for label, field, digits in (("updates", "updates", 0), ("seconds", "seconds", 1), ("score", "score", 1))
    }
    for name, points in points_of.items()
    if points
  ]
  print(table(shown))
  if OUTPUT.value:
    write_results(OUTPUT.value, "end_to_end", rows)


if __name__ == "__main__":
  app.run(main)
