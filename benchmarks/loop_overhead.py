"""The cost of training beside the update itself: MACAW as `experiments.run` trains it against its bare update.

python -m benchmarks.loop_overhead

The bare update runs on one fixed batch in a compiled scan. Training, a population of one, draws every batch inside its
scan, means its metrics, brings them to the host and writes them as a run does (JSON lines, TensorBoard, the line in the
terminal). Milliseconds of processor time an update, on one core; the goal is an overhead below 10 %.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks.measure import interleave, repeated, show, spread, table, write_results
from benchmarks.random_data import half_cheetah_problem, random_dataset
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk, train
from macaw_jax.training.metrics import JsonLinesWriter, ProgressLine, TensorBoardWriter
from macaw_jax.training.non_finite import compile_with_skips
from macaw_jax.training.population import make_population, stack
from macaw_jax.types import Algorithm

TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
ROWS = flags.DEFINE_integer("rows", 20_000, "Transitions of a task.", lower_bound=4)
UPDATES = flags.DEFINE_integer(
  "updates", 100, "Updates in one compiled call; config.training.log_every.", lower_bound=1
)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

Write = Callable[[int, dict[str, float]], None]
"""`(step, metrics)`"""

BASELINE, TRAINING = "bare update", "and writing: training"


def make_calls(algorithm: Algorithm, write: Write) -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
  """The versions, `UPDATES` updates a call, and the seconds that each took to compile."""
  key, data = jax.random.key(0), random_dataset(TASKS.value, ROWS.value)
  sample = partial(sample_tasks, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value)
  batch = jax.jit(sample)(data, key)
  chunks = {
    # The loop itself, its sampler handing out the batch that is its dataset.
    BASELINE: (make_chunk(algorithm, lambda batch, key: batch, UPDATES.value), batch),
    "and sampling": (make_chunk(algorithm, sample, UPDATES.value), data),
  }
  compiled, seconds = {}, {}
  for name, (chunk, dataset) in chunks.items():
    started = time.perf_counter()
    compiled[name] = compile_chunk(chunk, initialise(algorithm, key), dataset, key)
    seconds[name] = time.perf_counter() - started

  def timed(name: str) -> Callable[[], None]:
    return repeated(lambda state: compiled[name](state, chunks[name][1], key), initialise(algorithm, key))

  calls = {name: timed(name) for name in chunks}
  population, keys = make_population([{}], [initialise(algorithm, key)]), stack([key])
  started = time.perf_counter()
  training = compile_with_skips(lambda: algorithm, sample, UPDATES.value, 10, compile_chunk, population, data, keys)
  seconds[TRAINING] = time.perf_counter() - started
  endless = train(training, population, data, keys, num_steps=2**30)

  def train_and_write() -> None:
    started = time.monotonic()
    state, means = next(endless)
    metrics = {name: float(values[0]) for name, values in jax.device_get(means).items()}
    write(int(state.step[0]), metrics | {"steps_per_second": UPDATES.value / (time.monotonic() - started)})

  return calls | {TRAINING: train_and_write}, seconds


def main(argv: list[str]) -> None:
  """Times, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  algorithm = ALGORITHMS["macaw"](half_cheetah_problem(TASKS.value), hidden_sizes=(WIDTH.value,) * 3)
  with (
    tempfile.TemporaryDirectory() as directory,
    closing(JsonLinesWriter(Path(directory) / "metrics.jsonl")) as rows_file,
    closing(TensorBoardWriter(Path(directory) / "tensorboard")) as events,
  ):
    writers = (rows_file, events, ProgressLine(2**30, lambda line: None))

    def write(step: int, metrics: dict[str, float]) -> None:
      for writer in writers:
        writer.write(step, metrics)

    calls, seconds = make_calls(algorithm, write)
    times = interleave(calls, REPEATS.value)
  spreads = {
    name: {
      clock: spread([getattr(one, clock) * 1e3 / UPDATES.value for one in measured]) for clock in ("processor", "wall")
    }
    for name, measured in times.items()
  }
  bare = spreads[BASELINE]["processor"].median
  rows: list[dict[str, Any]] = [
    {
      "version": name,
      "processor_ms": of_version["processor"]._asdict(),
      "wall_ms": of_version["wall"]._asdict(),
      "overhead_percent": 100.0 * (of_version["processor"].median / bare - 1.0),
      "compile_seconds": seconds.get(name),
    }
    for name, of_version in spreads.items()
  ]
  print(
    f"one update of MACAW: {TASKS.value} tasks, {BATCH.value} + {BATCH.value} transitions, 3 x {WIDTH.value} weight "
    f"transform, {UPDATES.value} in one call, on {jax.devices()[0].device_kind}"
  )
  shown = [
    {
      "version": row["version"],
      "processor ms": show(spreads[row["version"]]["processor"], 2),
      "wall ms": show(spreads[row["version"]]["wall"], 2),
      "overhead": f"{row['overhead_percent']:.1f} %",
      "compile s": "-" if row["compile_seconds"] is None else f"{row['compile_seconds']:.1f}",
    }
    for row in rows
  ]
  print(table(shown))
  if OUTPUT.value:
    write_results(OUTPUT.value, "loop_overhead", rows)


if __name__ == "__main__":
  app.run(main)
