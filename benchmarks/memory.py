"""The memory that the switches of MACAW save, and their cost in time.

python -m benchmarks.memory
python -m benchmarks.memory --tasks=20 --inner_steps=5 --batch=1000

  plain                          `macaw_jax.algorithms.macaw.macaw` as it comes
  rematerialised                 `remat='inner_steps'`
  rematerialised, barriers kept  the same, on a CPU, compiled so that XLA does not merge the second computation of an
                                 inner step with the first
  first order                    `first_order=True`: other meta-gradients
  bfloat16 products              `matmul_precision='bfloat16'`: rounded; meant for hardware that multiplies such numbers

Memory is what the compiled update asks for: temporary arrays, arguments (state and batch) and outputs, which take the
place of the old state. Milliseconds of processor time of an update on a fixed batch, on one core, median and quartiles
over repeats that take turns; ratios are to the plain update of the same size. The support is rounded down to equal
shares of the inner steps.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from absl import app, flags, logging

from benchmarks import measure
from benchmarks.random_data import half_cheetah_problem
from benchmarks.update_versions import INIT_KEY, RUN_KEY, Sizes, make_dataset, sample
from macaw_jax.algorithms import macaw
from macaw_jax.training.loop import compiler_options, initialise
from macaw_jax.types import TaskBatch

TASKS = flags.DEFINE_list("tasks", ["5", "20"], "Tasks of an update.")
INNER_STEPS = flags.DEFINE_list("inner_steps", ["1", "2", "5"], "Inner steps, each on its share of the support.")
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 5, "Updates in one timed call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the rows.")

PLAIN = "plain"
REMATERIALISED = {"remat": "inner_steps"}


class Version(NamedTuple):
  """Arguments of the factory, and what the compiler is told beside what runs tell it."""

  arguments: Mapping[str, Any]
  options: Mapping[str, Any]


class Program(NamedTuple):
  """A compiled update."""

  run: Callable[[], None]
  bytes: dict[str, int]
  compile_seconds: float


def versions() -> dict[str, Version]:
  """The programs that are compared on this backend, the plain update first."""
  kept = {"rematerialised, barriers kept": Version(REMATERIALISED, {"xla_disable_hlo_passes": "cse_barrier_expander"})}
  return {
    PLAIN: Version({}, {}),
    "rematerialised": Version(REMATERIALISED, {}),
    **(kept if jax.default_backend() == "cpu" else {}),
    "first order": Version({"first_order": True}, {}),
    "bfloat16 products": Version({"matmul_precision": "bfloat16"}, {}),
  }


def prepare(version: Version, sizes: Sizes, batch: TaskBatch) -> Program:
  """Compiles the update, the state donated as in training."""
  algorithm = macaw(
    half_cheetah_problem(sizes.tasks),
    hidden_sizes=(sizes.width,) * 3,
    adaptation_steps=sizes.inner_steps,
    **version.arguments,
  )
  key, state = jax.random.key(RUN_KEY), initialise(algorithm, jax.random.key(INIT_KEY))
  lowered = jax.jit(algorithm.update, donate_argnums=0).lower(state, batch, key)
  started = time.perf_counter()
  compiled = lowered.compile(compiler_options() | dict(version.options))
  compile_seconds = time.perf_counter() - started
  analysis = compiled.memory_analysis()

  def run() -> None:
    nonlocal state
    for _ in range(UPDATES.value):
      state, _ = compiled(state, batch, key)
    jax.block_until_ready(state)

  sizes_of = {part: getattr(analysis, f"{part}_size_in_bytes") for part in ("temp", "argument", "output")}
  return Program(run, sizes_of, compile_seconds)


def measure_cell(sizes: Sizes) -> list[dict[str, Any]]:
  """Compiles and times the versions at one size: a row of plain numbers for each."""
  batch = jax.jit(functools.partial(sample, sizes))(make_dataset(sizes), jax.random.key(RUN_KEY))
  programs = {name: prepare(version, sizes, batch) for name, version in versions().items()}
  times = measure.interleave({name: program.run for name, program in programs.items()}, REPEATS.value)
  milliseconds = {
    name: measure.spread([1e3 * each.processor / UPDATES.value for each in times[name]]) for name in programs
  }
  return [
    {
      **sizes._asdict(),
      "version": name,
      **{f"{part}_bytes": count for part, count in program.bytes.items()},
      "temp_ratio": program.bytes["temp"] / programs[PLAIN].bytes["temp"],
      "processor_ms": milliseconds[name]._asdict(),
      "time_ratio": milliseconds[name].median / milliseconds[PLAIN].median,
      "compile_seconds": program.compile_seconds,
    }
    for name, program in programs.items()
  ]


def shown(row: Mapping[str, Any]) -> dict[str, str]:
  """A row for people."""
  return {
    "tasks": str(row["tasks"]),
    "inner steps": str(row["inner_steps"]),
    "version": row["version"],
    **{f"{part} MB": f"{row[f'{part}_bytes'] / 1e6:,.1f}" for part in ("temp", "argument", "output")},
    "temp ratio": f"{row['temp_ratio']:.2f}",
    "processor ms": measure.show(measure.Spread(**row["processor_ms"])),
    "time ratio": f"{row['time_ratio']:.2f}",
    "compile s": f"{row['compile_seconds']:.1f}",
  }


def positive_integers(flag: str, values: list[str]) -> list[int]:
  """The values of a list flag. Raises `UsageError` for one that is no positive integer."""
  for value in values:
    if not value.isdecimal() or int(value) < 1:
      raise app.UsageError(f"--{flag}: expected positive integers, found {value!r}")
  return [int(value) for value in values]


def main(arguments: list[str]) -> None:
  """Measures every size and prints one table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)
  all_steps = positive_integers("inner_steps", INNER_STEPS.value)
  if max(all_steps) > BATCH.value:
    raise app.UsageError(f"--batch={BATCH.value} is too small for --inner_steps={max(all_steps)}")
  cells = [
    Sizes(tasks=tasks, batch=BATCH.value // steps * steps, width=WIDTH.value, inner_steps=steps)
    for tasks in positive_integers("tasks", TASKS.value)
    for steps in all_steps
  ]
  rows: list[dict[str, Any]] = []
  for sizes in cells:
    rows += measure_cell(sizes)
    jax.clear_caches()
    if OUTPUT.value:
      measure.write_results(OUTPUT.value, "memory", rows)
  print(
    f"one update of MACAW: {BATCH.value} + {BATCH.value} transitions, 3 x {WIDTH.value} weight transform, on one "
    f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n"
  )
  print(measure.table([shown(row) for row in rows]))


if __name__ == "__main__":
  app.run(main)
