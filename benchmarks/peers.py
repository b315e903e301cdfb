"""An update of each method as its authors wrote it, in PyTorch, beside ours.

python -m benchmarks.peers
python -m benchmarks.peers --only=macaw,pearl

The PyTorch versions have the structure of the released codes: loops over tasks and pairs in Python, an optimiser for
each network, steps one after the other (`benchmarks.torch_macaw.Loop`, `benchmarks.torch_context`,
`benchmarks.torch_norml`; NoRML's own code is TensorFlow 1). Ours are the sets that repeat the released codes, and
MACAW with its defaults. Sizes are those of the released configurations, for the half-cheetah's velocities, and for
NoRML for the point agent; random data of these sizes.

Both sides start from the same parameters. Their gradients on one batch with the same noise are compared before anything
is timed, and a tensor that is further from ours than 1e-2 of its norm ends the run; where a tensor nearly cancels, than
1e-5 of its network's norm. An update draws its batches and steps its optimisers; NoRML's is given its episodes.
UNICORN's is that of encoder and decoders alone, CORRO's one of each of its three stages, the generator on all rows of
the batch (the released code trains it on 128). The process runs on one core with one thread, and the two take turns;
milliseconds of processor time, median and quartiles. Ratio is theirs to ours, with its 95 % bootstrap interval over
rounds. Compilation stands apart. Needs the extra `torch`.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks import measure
from benchmarks.peer_versions import METHODS, OURS, THEIRS, Peer, largest_difference

NAMES = flags.DEFINE_list("only", None, "Methods to measure; all if not given.")
SIZES = {
  name: flags.DEFINE_integer(name, None, f"{what}; as released if not given.", lower_bound=2)
  for name, what in {
    "tasks": "Tasks of an update",
    "context": "Transitions of a context",
    "rows": "Transitions of a task beside the context; with MACAW of support and of query",
    "episodes": "Episodes of a task, before adaptation and after",
    "steps": "Steps of an episode",
  }.items()
}
WIDTH = flags.DEFINE_integer("width", None, "Width of all hidden layers; as released if not given.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 20, "Updates in one timed call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 7, "Rounds.", lower_bound=2)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

TOLERANCE = 1e-2


def compare(peer: Peer) -> float:
  """The largest relative difference of a gradient tensor of theirs from ours. Exits if it is too large."""
  ours, theirs = (peer.versions[side].gradient(peer.tasks) for side in (OURS, THEIRS))
  difference, name = largest_difference(theirs, ours)
  print(f"largest relative difference of a gradient tensor: {difference:.1e}, {name}", flush=True)
  if not difference <= TOLERANCE:
    raise SystemExit(
      f"{THEIRS} computes another gradient than {OURS}: {name} differs by {difference:.1e} > {TOLERANCE}"
    )
  return difference


def measure_method(name: str) -> dict[str, Any]:
  """Compares and times both sides of a method: a row of plain numbers."""
  method = METHODS[name]
  sizes = {size: SIZES[size].value or released for size, released in method.sizes.items()}
  peer = method.build(sizes, WIDTH.value)
  print(f"\n{name}, {', '.join(f'{value} {size}' for size, value in sizes.items())}", flush=True)
  difference = compare(peer)
  programs = {side: version.prepare(UPDATES.value) for side, version in peer.versions.items()}
  times = measure.interleave({side: program.run for side, program in programs.items()}, REPEATS.value)
  milliseconds = {side: [1e3 * each.processor / UPDATES.value for each in times[side]] for side in times}
  return {
    "method": name,
    **sizes,
    "processor_ms": {side: measure.spread(of_side)._asdict() for side, of_side in milliseconds.items()},
    "ratio": measure.ratio_of_medians(milliseconds[THEIRS], milliseconds[OURS])._asdict(),
    "compile_seconds": programs[OURS].compile_seconds,
    "gradient_difference": difference,
    "updates_in_a_call": UPDATES.value,
    "repeats": REPEATS.value,
  }


def shown(row: dict[str, Any]) -> dict[str, str]:
  """A row for people."""
  return {
    "method": row["method"],
    "pytorch ms": measure.show(measure.Spread(**row["processor_ms"][THEIRS])),
    "macaw_jax ms": measure.show(measure.Spread(**row["processor_ms"][OURS])),
    "ratio": measure.show(measure.Spread(**row["ratio"]), digits=2),
    "compile s": f"{row['compile_seconds']:.1f}",
  }


def main(arguments: Sequence[str]) -> None:
  """Compares, times, and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  if unknown := [name for name in NAMES.value or () if name not in METHODS]:
    raise app.UsageError(f"--only: {unknown[0]!r} is none of {', '.join(METHODS)}")
  if importlib.util.find_spec("torch") is None:
    print("nothing to compare with: every row needs the extra `torch`")
    return
  logging.set_verbosity(logging.WARNING)
  versions = measure.installed_versions(["jax", "torch"])
  print(f"on one {jax.devices()[0].device_kind} core, {', '.join(' '.join(item) for item in versions.items())}")
  rows = []
  for name in NAMES.value or METHODS:
    rows.append(measure_method(name))
    if OUTPUT.value:
      measure.write_results(OUTPUT.value, "peers", rows)
    jax.clear_caches()
  print(f"\n{measure.table([shown(row) for row in rows])}")


if __name__ == "__main__":
  app.run(main)
