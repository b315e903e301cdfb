"""The cost of one meta-update of MACAW: ours, a plain version in JAX, and PyTorch.

python -m benchmarks.update_step
python -m benchmarks.update_step --tasks=20 --inner_steps=2 --memory
python -m benchmarks.update_step --sweep --output=update_step.json

  macaw_jax       `macaw_jax.algorithms.macaw.macaw` as a user gets it
  jax_copying     plain gradient steps mapped over tasks: every task has a copy of each generator; `optax.adam`
  torch_loop      PyTorch as the released code is built: a loop over tasks, second-order autograd on copies
  torch_factored  PyTorch at its best (`benchmarks.torch_macaw`): all tasks at once, no copy of a generator
  torch_compiled  the same through `torch.compile`

All start from the same parameters on the same data; their meta-gradients on one batch are compared before anything is
timed, and a tensor that is further from ours than 1e-2 of its norm ends the run. An update samples its batches, takes
the meta-gradient and steps Adam. The process runs on one core with one thread; milliseconds of an update, median and
quartiles over repeats that take turns. Ratio is that of processor times to ours. Compilation, from a cold cache, stands
apart. Peak memory (`--memory`, `--sweep`) is that of a process for each version: the largest resident set during
updates that follow the first ones, less the resident set before the version was built. The PyTorch rows need the extra
`torch`.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import functools
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import measure
from benchmarks.update_versions import (
  NEEDS_TORCH,
  OURS,
  RUN_KEY,
  VERSIONS,
  Sizes,
  Version,
  build_versions,
  compare,
  make_dataset,
  measure_memory,
  sample,
)
from macaw_jax.networks.layers import LAYERS
from macaw_jax.types import TaskBatch

TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
INNER_STEPS = flags.DEFINE_integer("inner_steps", 1, "Inner steps, each on its share of the support.", lower_bound=1)
LAYER = flags.DEFINE_enum("layer", "weight_transform", sorted(LAYERS), "Kind of layer.")
FIRST_ORDER = flags.DEFINE_bool("first_order", False, "Hold inner gradients fixed.")
UPDATES = flags.DEFINE_integer("updates", 20, "Updates in one timed call; a sweep takes fewer.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls of each version.", lower_bound=1)
NAMES = flags.DEFINE_list("versions", None, "Versions to run, ours always; all that can be if not given.")
MEMORY = flags.DEFINE_bool("memory", False, "Measure peak memory, in a process for each version.")
SWEEP = flags.DEFINE_bool("sweep", False, "Vary one size after the other from the standard ones.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the rows.")

SECONDS_OF_A_CALL = 1.0  # in a sweep


def sweep_cells() -> list[Sizes]:
  """The standard sizes, and every other value of one size after the other."""
  standard = Sizes()
  return [
    standard,
    *(standard._replace(tasks=tasks) for tasks in (10, 20, 40)),
    # Equal shares: a batch that the steps divide.
    *(standard._replace(inner_steps=steps, batch=standard.batch // steps * steps) for steps in (2, 5)),
    standard._replace(width=300),
    standard._replace(batch=1024),
    *(standard._replace(layer=layer) for layer in ("dense", "bias_transform")),
    standard._replace(first_order=True),
  ]


def choose_versions(names: Sequence[str] | None) -> list[str]:
  """The versions to run, ours first. Raises `UsageError` for a name that is unknown or cannot be imported."""
  has_torch = importlib.util.find_spec("torch") is not None
  if names is None:
    if not has_torch:
      print(f"without PyTorch: {', '.join(NEEDS_TORCH)} need the extra `torch`")
    return [name for name in VERSIONS if has_torch or name not in NEEDS_TORCH]
  if unknown := [name for name in names if name not in VERSIONS]:
    raise app.UsageError(f"--versions: {unknown[0]!r} is none of {', '.join(VERSIONS)}")
  if not has_torch and (missing := [name for name in names if name in NEEDS_TORCH]):
    raise app.UsageError(f"--versions: {missing[0]} needs the extra `torch`")
  return [OURS, *(name for name in VERSIONS if name in names and name != OURS)]


def updates_of_a_call(version: Version, tasks: TaskBatch) -> int:
  """As many updates as take about a second, guessed from a meta-gradient that is compiled already."""
  seconds = measure.measure(lambda: version.gradient(tasks)).processor
  return int(np.clip(SECONDS_OF_A_CALL / seconds, 1, UPDATES.value))


def measure_cell(names: Sequence[str], sizes: Sizes, *, adapt_updates: bool, memory: bool) -> list[dict[str, Any]]:
  """Compares and times the versions at one size: a row of plain numbers for each."""
  dataset = make_dataset(sizes)
  tasks = jax.jit(functools.partial(sample, sizes))(dataset, jax.random.key(RUN_KEY))
  versions, failures = build_versions(names, sizes, dataset)
  differences = compare(versions, tasks)
  updates = {
    name: updates_of_a_call(version, tasks) if adapt_updates else UPDATES.value for name, version in versions.items()
  }
  programs = {name: version.prepare(updates[name]) for name, version in versions.items()}
  times = measure.interleave({name: program.run for name, program in programs.items()}, REPEATS.value)

  rows: list[dict[str, Any]] = []
  for name in versions:
    processor = measure.spread([1e3 * each.processor / updates[name] for each in times[name]])
    wall = measure.spread([1e3 * each.wall / updates[name] for each in times[name]])
    row = {
      **sizes._asdict(),
      "version": name,
      "processor_ms": processor,
      "wall_ms": wall,
      "ratio": processor.median / (rows[0]["processor_ms"] if rows else processor).median,
      "compile_seconds": programs[name].compile_seconds,
      "gradient_difference": differences[name],
      "updates_in_a_call": updates[name],
      "repeats": REPEATS.value,
    }
    rows.append(row | ({"peak_mb": measure_memory(name, sizes)} if memory else {}))
  return [*rows, *({**sizes._asdict(), "version": name, "failure": reason} for name, reason in failures.items())]


def shown(row: Mapping[str, Any], memory: bool) -> dict[str, str]:
  """A row for people."""
  if "failure" in row:
    columns = ("processor ms", "wall ms", "ratio", "compile s", *(["peak MB"] if memory else []))
    return {"version": f"{row['version']}: does not compile ({row['failure']})", **dict.fromkeys(columns, "-")}
  seconds = row["compile_seconds"]
  cells = {
    "version": row["version"],
    "processor ms": measure.show(row["processor_ms"]),
    "wall ms": measure.show(row["wall_ms"]),
    "ratio": f"{row['ratio']:.2f}",
    "compile s": "-" if seconds is None else f"{seconds:.1f}",
  }
  return cells | ({"peak MB": f"{row['peak_mb']:,.0f}"} if memory else {})


def describe(sizes: Sizes) -> str:
  """Sizes, device and versions in a line."""
  packages = ["jax", *(["torch"] if importlib.util.find_spec("torch") else [])]
  order = "first" if sizes.first_order else "second"
  return (
    f"one update: {sizes.tasks} tasks, {sizes.batch} + {sizes.batch} transitions, 3 x {sizes.width} {sizes.layer}, "
    f"{sizes.inner_steps} inner step(s), {order} order, on one {jax.devices()[0].device_kind} core, "
    f"{', '.join(f'{package} {metadata.version(package)}' for package in packages)}"
  )


def main(arguments: list[str]) -> None:
  """Compares, times, and prints a table for each size."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)  # JAX reports every backend that it did not find.
  chosen = Sizes(TASKS.value, BATCH.value, WIDTH.value, INNER_STEPS.value, LAYER.value, FIRST_ORDER.value)
  if chosen.batch % chosen.inner_steps:
    raise app.UsageError(f"--batch={chosen.batch} cannot be cut into --inner_steps={chosen.inner_steps} equal shares")
  names = choose_versions(NAMES.value)
  memory = MEMORY.value or SWEEP.value
  rows: list[dict[str, Any]] = []
  with tempfile.TemporaryDirectory() as folder:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # Cold at first; processes that measure memory find it warm.
    for sizes in sweep_cells() if SWEEP.value else [chosen]:
      print(f"\n{describe(sizes)}", flush=True)
      cell = measure_cell(names, sizes, adapt_updates=SWEEP.value, memory=memory)
      print(f"\n{measure.table([shown(row, memory) for row in cell])}", flush=True)
      rows += cell
      if OUTPUT.value:
        measure.write_results(OUTPUT.value, "update_step", rows)
      jax.clear_caches()


if __name__ == "__main__":
  app.run(main)
