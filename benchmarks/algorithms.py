"""Meta-updates a second of each algorithm, beside MACAW's.

python -m benchmarks.algorithms
python -m benchmarks.algorithms --sizes=common --only=macaw,pearl_offline,focal

Every algorithm as its configuration for the half-cheetah's velocities has it, on random data of that family's sizes;
some also with another actor-critic, other negatives or gradient surgery. With `--sizes=configured` an update has the
tasks and transitions of that configuration, with `common` those of MACAW's. Sampling and optimiser are included. The
process runs on one core; milliseconds of an update, median and quartiles over repeats that take turns; ratio is that
of processor times to MACAW's.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks.configured import configuration, configured_recipe
from benchmarks.measure import interleave, show, spread, table, write_results
from benchmarks.programs import updates_of_one
from benchmarks.random_data import random_dataset

BASELINE = "macaw"
# By the name of a row: the configuration, and what is changed in its hyper-parameters.
VERSIONS: dict[str, tuple[str, dict[str, Any]]] = {
  BASELINE: ("macaw", {}),
  "maml_awr": ("maml_awr", {}),
  "macaw pcgrad": ("macaw", {"gradient_surgery": "pcgrad"}),
  "multitask_awr": ("multitask_awr", {}),
  "pearl_offline": ("pearl_offline", {}),
  "pearl_offline sac": ("pearl_offline", {"actor_critic.name": "sac"}),
  "focal": ("focal", {}),
  "focal pcgrad": ("focal", {"gradient_surgery": "pcgrad"}),
  "focal brac": ("focal", {"actor_critic.name": "brac"}),
  "unicorn": ("unicorn", {}),
  "csro": ("csro", {}),
  "corro": ("corro", {}),
  "corro generator": ("corro", {"encoder.negatives": "generator"}),
  "bati": ("bati", {}),
  "rl2_offline": ("rl2_offline", {}),
  "varibad_offline": ("varibad_offline", {}),
  "multitask_iql": ("multitask_iql", {}),
  "multitask_iql mean": ("multitask_iql", {"gradient_surgery": "mean"}),
  "multitask_iql pcgrad": ("multitask_iql", {"gradient_surgery": "pcgrad"}),
  "multitask_sac": ("multitask_sac:cheetah_vel,recorded", {}),
  "multitask_sac pcgrad": ("multitask_sac:cheetah_vel,recorded", {"gradient_surgery": "pcgrad"}),
}

NAMES = flags.DEFINE_list("only", None, "Rows to measure, MACAW's always; all if not given.")
SIZES = flags.DEFINE_enum("sizes", "configured", ["configured", "common"], "Tasks and transitions of an update.")
NUM_TASKS = flags.DEFINE_integer("num_tasks", 35, "Training tasks of the data.", lower_bound=2)
NUM_ROWS = flags.DEFINE_integer("num_rows", 2_000, "Transitions of each task.", lower_bound=520)
NUM_UPDATES = flags.DEFINE_integer("num_updates", 50, "Updates in one compiled call.", lower_bound=1)
NUM_REPEATS = flags.DEFINE_integer("num_repeats", 7, "Timed calls of each version.", lower_bound=1)
RESULTS = flags.DEFINE_string("output", None, "JSON file of the results.")


def main(arguments: list[str]) -> None:
  """Compiles, times and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  if unknown := [name for name in NAMES.value or () if name not in VERSIONS]:
    raise app.UsageError(f"--only: {unknown[0]!r} is none of {', '.join(VERSIONS)}")
  logging.set_verbosity(logging.WARNING)
  names = [name for name in VERSIONS if name == BASELINE or name in (NAMES.value or VERSIONS)]
  data = random_dataset(NUM_TASKS.value, NUM_ROWS.value)
  common = configuration(*VERSIONS[BASELINE]).training

  calls: dict[str, Callable[[], None]] = {}
  records: dict[str, dict[str, Any]] = {}
  for name in names:
    recipe = configured_recipe(*VERSIONS[name], NUM_TASKS.value, common if SIZES.value == "common" else None)
    program = updates_of_one(recipe, data, NUM_UPDATES.value)
    records[name] = {"version": name, **recipe.sizes, "compile_seconds": program.compile_seconds}
    calls[name] = program.run

  times = interleave(calls, NUM_REPEATS.value)
  milliseconds = {
    name: spread([1e3 * each.processor / NUM_UPDATES.value for each in of_name]) for name, of_name in times.items()
  }
  print(f"on {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
  rows = []
  for name, record in records.items():
    record["processor_ms"] = milliseconds[name]._asdict()
    record["ratio"] = milliseconds[name].median / milliseconds[BASELINE].median
    rows.append(
      {
        "algorithm": name,
        "tasks x (support + query)": f"{record['tasks']} x ({record['support']} + {record['query']})",
        "ms an update": show(milliseconds[name]),
        "updates/s": f"{1e3 / milliseconds[name].median:,.0f}",
        "ratio to macaw": f"{record['ratio']:.2f}",
        "compile s": f"{record['compile_seconds']:.1f}",
      }
    )
  print(table(rows))
  if RESULTS.value:
    write_results(RESULTS.value, "algorithms", list(records.values()))


if __name__ == "__main__":
  app.run(main)
