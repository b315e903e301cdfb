"""How near a meta-update of MACAW is to what this machine could do, and where the rest of the time goes.

python -m benchmarks.limits
python -m benchmarks.limits --tasks=20

The machine's rates are measured first: products of large matrices, products as a layer makes them, and reading and
writing an array larger than any cache where it stands. The floating-point operations of the compiled update are counted
from its program; its traffic is that of the large arrays, the generators and the optimiser's moments. The limit of a
group of operations is the longer of the two times, that of the update their sum; activations are taken to stay in the
caches. With the rate of a layer's products in place of that of large ones it is the limit of a program that does the
same products one after the other. A profile says what each group takes.

  networks    products of layers, forwards and backwards, and what is done to each number between them
  generator   products with the weight-transform generators: each is read 4 K + 2 times for K inner steps, and its
              gradient is written once
  optimizer   Adam: reads gradient, parameters and both moments, writes parameters and moments
  sampling    drawing the batches
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import gzip
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import app, flags, logging

from benchmarks.measure import Spread, measure, repeated, show, spread, table, write_results
from benchmarks.random_data import half_cheetah_problem, random_dataset
from benchmarks.rates import FLOAT_BYTES, memory_rate, product_rate
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.networks.layers import flatten_units, is_weight_transform
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk
from macaw_jax.types import TrainState

TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
INNER_STEPS = flags.DEFINE_integer("inner_steps", 1, "Inner steps.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 20, "Updates in one compiled call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls.", lower_bound=1)
MATRIX = flags.DEFINE_integer("matrix", 1_500, "Rows of the square matrices that are multiplied.", lower_bound=8)
ELEMENTS = flags.DEFINE_integer("elements", 40_000_000, "Numbers of the array that is passed over.", lower_bound=8)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

GROUPS = ("networks", "generator", "optimizer", "sampling")


class Rates(NamedTuple):
  """The limits of the machine."""

  flops: float  # of a product of large matrices, per second
  layer_flops: float  # of the product of one layer with all rows of a batch, per second
  bytes: float  # read and written in place by a pass over an array that fits no cache, per second


class Work(NamedTuple):
  """The work of a group of operations for one update."""

  flops: float
  bytes: float


def machine_rates() -> Rates:
  """The best of several products and passes."""
  repeats = max(REPEATS.value, 5)
  return Rates(
    flops=product_rate(MATRIX.value, MATRIX.value, MATRIX.value, products=1, repeats=repeats),
    layer_flops=product_rate(TASKS.value * BATCH.value, WIDTH.value, WIDTH.value, products=10, repeats=repeats),
    bytes=memory_rate(ELEMENTS.value, repeats=repeats),
  )


def group_of(operation: str) -> str:
  """The group of an operation, from the scopes in its name."""
  return next((group for group in ("generator", "optimizer", "sampling") if group in operation), "networks")


def operation_names(program: str) -> dict[str, str]:
  """The scopes of every instruction of a compiled program, by its name.

  Instructions that the compiler made itself have none: they are given those of what they read.
  """
  lines = re.findall(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*)$", program, re.MULTILINE)
  scopes: dict[str, str] = {}
  for name, text in lines:
    named = re.search(r'op_name="([^"]*)"', text)
    scopes[name] = named.group(1) if named else ""
  for name, text in lines:
    if not scopes[name] and (operands := re.search(r"\(([^()]*)\)", text)):
      read = re.findall(r"%?([\w.\-]+)(?:,|$)", operands.group(1))
      scopes[name] = next((scopes[other] for other in read if scopes.get(other)), "")
  return scopes


def count_flops(program: str) -> dict[str, float]:
  """Floating-point operations of all matrix products in a compiled program, by group."""
  scopes, flops = operation_names(program), dict.fromkeys(GROUPS, 0.0)
  shapes = {name: _sizes(shape) for name, shape in re.findall(r"%?([\w.\-]+) = \w+\[([\d,]*)\]", program)}
  products = re.findall(
    r"%?([\w.\-]+) = \w+\[([\d,]*)\]\S* dot\(%?([\w.\-]+), .*?lhs_contracting_dims=\{([\d,]*)\}", program
  )
  for name, shape, left, contracted in products:
    depth = math.prod(shapes[left][axis] for axis in _sizes(contracted))
    flops[group_of(scopes[name])] += 2.0 * depth * math.prod(_sizes(shape))
  return flops


def large_traffic(state: TrainState) -> dict[str, float]:
  """Bytes of the arrays that no cache holds from one use to the next, by group."""
  units, _ = flatten_units(state.params.net)
  generators = sum(unit["generator"].size for unit in units if is_weight_transform(unit))
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  passes = 4 * INNER_STEPS.value + 2 + 1
  return {"generator": FLOAT_BYTES * passes * generators, "optimizer": FLOAT_BYTES * 7 * parameters}


def profile(run: Callable[[], Any], program: str) -> dict[str, float]:
  """Seconds of an update that go into each group."""
  scopes, seconds = operation_names(program), dict.fromkeys(GROUPS, 0.0)
  with tempfile.TemporaryDirectory() as directory:
    with jax.profiler.trace(directory, create_perfetto_trace=True):
      run()
    (trace,) = Path(directory).rglob("perfetto_trace.json.gz")
    with gzip.open(trace) as file:
      events = json.load(file)["traceEvents"]
  for event in events:
    name = event.get("name", "")
    # A loop's own event lasts as long as all that is in it.
    if "hlo_op" in event.get("args", {}) and not name.startswith(("while", "call")):
      seconds[group_of(scopes.get(name, ""))] += event["dur"] * 1e-6 / UPDATES.value
  return seconds


def main(arguments: list[str]) -> None:
  """Measures, counts, profiles and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)
  algorithm = ALGORITHMS["macaw"](
    half_cheetah_problem(TASKS.value), hidden_sizes=(WIDTH.value,) * 3, adaptation_steps=INNER_STEPS.value
  )
  sample = partial(sample_tasks, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value)
  key, data = jax.random.key(0), random_dataset(TASKS.value, 2_000 + 2 * BATCH.value)
  state = initialise(algorithm, key)
  traffic = large_traffic(state)
  compiled: Any = compile_chunk(make_chunk(algorithm, sample, UPDATES.value), state, data, key)
  program = compiled.as_text()

  run = repeated(lambda state: compiled(state, data, key), state)
  rates = machine_rates()
  run()
  update = spread([measure(run).wall / UPDATES.value for _ in range(REPEATS.value)])
  taken = profile(run, program)
  work = {name: Work(flops, traffic.get(name, 0.0)) for name, flops in count_flops(program).items()}
  limits = {name: limit(of_group, rates.flops, rates.bytes) for name, of_group in work.items()}
  layer_limits = {name: limit(of_group, rates.layer_flops, rates.bytes) for name, of_group in work.items()}

  print(
    f"one update: {TASKS.value} tasks, {BATCH.value} + {BATCH.value} transitions, 3 x {WIDTH.value} weight transform, "
    f"{INNER_STEPS.value} inner step(s), on one {jax.devices()[0].device_kind} core, jax {jax.__version__}"
  )
  print(
    f"large products {rates.flops / 1e9:.0f} GFLOP/s, products of a layer {rates.layer_flops / 1e9:.0f} GFLOP/s, "
    f"memory {rates.bytes / 1e9:.0f} GB/s"
  )
  print(f"update {show(Spread(*(1e3 * value for value in update)))} ms")
  for name, of_groups in (("large products", limits), ("products of a layer", layer_limits)):
    whole = sum(of_groups.values())
    print(f"limit with {name}: {whole * 1e3:.1f} ms, {100 * whole / update.median:.0f} % of it reached")
  print()
  rows = [
    {
      "group": name,
      "GFLOP": f"{work[name].flops / 1e9:.3f}",
      "MB": f"{work[name].bytes / 1e6:.0f}",
      "limit ms": f"{limits[name] * 1e3:.1f}",
      "of layers' products": f"{layer_limits[name] * 1e3:.1f}",
      "profile ms": f"{taken[name] * 1e3:.1f}",
    }
    for name in GROUPS
  ]
  print(table(rows))
  if OUTPUT.value:
    write_results(OUTPUT.value, "limits", [results(rates, update.median, work, limits, layer_limits, taken)])


def limit(work: Work, flops: float, bandwidth: float) -> float:
  """Seconds that the work takes at these rates per second."""
  return max(work.flops / flops, work.bytes / bandwidth)


def results(
  rates: Rates,
  seconds: float,
  work: Mapping[str, Work],
  limits: Mapping[str, float],
  layer_limits: Mapping[str, float],
  taken: Mapping[str, float],
) -> dict[str, Any]:
  """All figures as plain numbers."""
  groups = {
    name: {
      **work[name]._asdict(),
      "limit_seconds": limits[name],
      "layer_limit_seconds": layer_limits[name],
      "profile_seconds": taken[name],
    }
    for name in GROUPS
  }
  sizes = {"tasks": TASKS.value, "batch": BATCH.value, "width": WIDTH.value, "inner_steps": INNER_STEPS.value}
  fractions = {
    "fraction_of_limit": sum(limits.values()) / seconds,
    "fraction_of_layer_limit": sum(layer_limits.values()) / seconds,
  }
  return {**sizes, **rates._asdict(), "seconds": seconds, **fractions, "groups": groups}


def _sizes(text: str) -> tuple[int, ...]:
  return tuple(int(size) for size in text.split(",") if size)


if __name__ == "__main__":
  app.run(main)
