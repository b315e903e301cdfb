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

from benchmarks.measure import Spread, interleave, show, spread, table, write_results
from benchmarks.programs import Program, macaw_recipe, updates_of_one, updates_of_population
from benchmarks.random_data import random_dataset

MEMBERS = flags.DEFINE_list("members", ["1", "2", "4", "8"], "Sizes of the populations.")
TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 20, "Updates of each member in one compiled call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

BASELINE = "alone"


def members_of(size: int) -> list[dict[str, float]]:
  """The hyper-parameters of each member."""
  return [{"temperature": 0.5 + index / size, "policy_learning_rate": 3e-4 / (1 + index)} for index in range(size)]


def main(arguments: list[str]) -> None:
  """Compiles, times and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  for text in MEMBERS.value:
    if not text.isdecimal() or int(text) < 1:
      raise app.UsageError(f"--members: expected numbers from 1 up, found {text!r}")
  logging.set_verbosity(logging.WARNING)
  recipe = macaw_recipe(TASKS.value, BATCH.value, WIDTH.value)
  data = random_dataset(TASKS.value, 2_000 + 2 * BATCH.value)
  builders: dict[str, tuple[int, Callable[[], Program]]] = {
    BASELINE: (1, partial(updates_of_one, recipe, data, UPDATES.value))
  }
  for size in map(int, MEMBERS.value):
    population = partial(updates_of_population, recipe, data, UPDATES.value, members_of(size))
    builders[f"{size} in one program"] = (size, population)

  calls, compile_seconds = {}, {}
  for name, (_, build) in builders.items():
    started = time.perf_counter()
    calls[name] = build().run
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
