"""Meta-updates of a population in one program, against one member at a time.

python -m benchmarks.population
python -m benchmarks.population --members=1,8,64        on an accelerator

A member is MACAW at the standard size with a seed, a temperature and a learning rate of its own. The baseline is the
update without a population axis, compiled by itself. Updates a second count those of all members together.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import time
from collections.abc import Callable
from functools import partial

import jax
from absl import app, flags, logging

from benchmarks.measure import Spread, interleave, repeated, show, spread, table, write_results
from benchmarks.random_data import half_cheetah_problem, random_dataset
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.training.loop import Sample, compile_chunk, initialise, make_chunk
from macaw_jax.training.population import (
  MakeAlgorithm,
  initialise_member,
  make_population,
  make_population_chunk,
  stack,
)

MEMBERS = flags.DEFINE_list("members", ["1", "2", "4", "8"], "Sizes of the populations.")
TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 20, "Updates of each member in one compiled call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

BASELINE = "alone"


def alone(make: MakeAlgorithm, sample: Sample, data: Dataset) -> Callable[[], None]:
  """Updates of one run, without an axis for members."""
  algorithm, key = make(), jax.random.key(0)
  state = initialise(algorithm, key)
  compiled = compile_chunk(make_chunk(algorithm, sample, UPDATES.value), state, data, key)
  return repeated(lambda state: compiled(state, data, key), state)


def population(make: MakeAlgorithm, sample: Sample, data: Dataset, size: int) -> Callable[[], None]:
  """Updates of `size` members."""
  hyperparameters = [
    {"temperature": 0.5 + index / size, "policy_learning_rate": 3e-4 / (1 + index)} for index in range(size)
  ]
  keys = list(jax.random.split(jax.random.key(0), size))
  states = [initialise_member(make, values, key) for values, key in zip(hyperparameters, keys, strict=True)]
  members = make_population(hyperparameters, states)
  stacked_keys = stack(keys)
  chunk = make_population_chunk(make, sample, UPDATES.value, max_skips_in_a_row=10)
  compiled = compile_chunk(chunk, members, data, stacked_keys)
  return repeated(lambda state: compiled(state, data, stacked_keys), members)


def main(arguments: list[str]) -> None:
  """Compiles, times and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  for text in MEMBERS.value:
    if not text.isdecimal() or int(text) < 1:
      raise app.UsageError(f"--members: expected numbers from 1 up, found {text!r}")
  logging.set_verbosity(logging.WARNING)
  make = partial(ALGORITHMS["macaw"], half_cheetah_problem(TASKS.value), hidden_sizes=(WIDTH.value,) * 3)
  sample = partial(sample_tasks, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value)
  data = random_dataset(TASKS.value, 2_000 + 2 * BATCH.value)
  builders: dict[str, tuple[int, Callable[[], Callable[[], None]]]] = {
    BASELINE: (1, partial(alone, make, sample, data))
  }
  for size in map(int, MEMBERS.value):
    builders[f"{size} in one program"] = (size, partial(population, make, sample, data, size))

  calls, compile_seconds = {}, {}
  for name, (_, build) in builders.items():
    started = time.perf_counter()
    calls[name] = build()
    compile_seconds[name] = time.perf_counter() - started
  times = interleave(calls, REPEATS.value)

  print(
    f"MACAW, {TASKS.value} tasks, {BATCH.value} + {BATCH.value} transitions, 3 x {WIDTH.value} weight transform, on "
    f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n"
  )
  rows, records = [], []
  baseline = spread([each.wall for each in times[BASELINE]]).median / UPDATES.value
  for name, (size, _) in builders.items():
    seconds = spread([each.wall / (UPDATES.value * size) for each in times[name]])
    rows.append(
      {
        "members": name,
        "ms per member's update": show(Spread(*(1e3 * value for value in seconds))),
        "updates/s, all members": f"{1 / seconds.median:,.1f}",
        "of one alone": f"{baseline / seconds.median:.2f}",
        "start s": f"{compile_seconds[name]:.1f}",
      }
    )
    records.append({"members": name, "size": size, "seconds": seconds._asdict(), "start": compile_seconds[name]})
  print(table(rows))
  if OUTPUT.value:
    write_results(OUTPUT.value, "population", records)


if __name__ == "__main__":
  app.run(main)
