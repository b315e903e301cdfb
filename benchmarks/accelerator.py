"""All that an accelerator must be asked, by one command that ends in time.

python -m benchmarks.accelerator
python -m benchmarks.accelerator --minutes=5 --only=macaw,mjx --output=results
python -m benchmarks.accelerator --small                               a minute on a CPU, to see that it runs

It writes <output>/accelerator.json and <output>/accelerator.md, anew after every row, with these rows:

  macaw, focal, pearl_offline    updates a second of all members of a population; MACAW also without an axis for members
                                 ("alone"), and with products in bfloat16
  torch_loop, torch_factored,    the same update of MACAW in PyTorch (`benchmarks.update_step`), on the same card; the
  torch_compiled                 last through `torch.compile`
  cheetah_dir, ant_dir, ...      control steps a second of episodes on MJX under an untrained policy

Rows are measured in the order of their worth, the large and the single ones first. None is begun that would probably
end after the deadline. What was left out is listed with the reason: no time, no memory, or a package that is missing.

Seconds are by the clock, median and quartiles; compiling stands apart. Memory is what the compiled program holds, in
PyTorch the peak of its allocator. `products` and `bandwidth` are shares of the card's limits, which are measured
first: operations of the program over the rate of one large product in the same precision, and bytes that the compiled
operations read and write, as XLA counts them, over the rate of a pass over a large array. A cache can serve what XLA
counts as traffic, so that the second may exceed one. Accelerators may round the operands of float32 products
(TensorFloat-32); JAX's default stands, and PyTorch is told to do the same.
"""

if __name__ == "__main__":  # Before JAX is imported, which takes time, and then takes the memory that PyTorch needs.
  import os

  from benchmarks import budget  # noqa: F401  Its clock starts now.

  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import app, flags, logging

from benchmarks import rates
from benchmarks.budget import STARTED, Job, Outcome, Row, run_jobs
from benchmarks.measure import Spread, environment, interleave, show, spread, table, write_results
from benchmarks.programs import Program, Recipe, macaw_recipe, updates_of_one, updates_of_population
from benchmarks.random_data import random_dataset

MINUTES = flags.DEFINE_float("minutes", 8.0, "Time for everything, from the start of the process.", lower_bound=0.0)
RESULTS = flags.DEFINE_string("output", "benchmarks/results", "Folder of the results.")
ONLY = flags.DEFINE_list("only", None, "Rows to measure: rates, macaw, focal, pearl_offline, torch, mjx; else all.")
IS_SMALL = flags.DEFINE_bool("small", False, "Sizes for a CPU, whose figures say nothing.")


class Settings(NamedTuple):
  """Sizes of everything; lists in the order in which they are measured."""

  members: tuple[int, ...] = (64, 1, 256, 8)
  episodes: tuple[int, ...] = (1024, 4096, 64, 256)
  families: tuple[str, ...] = ("cheetah_dir", "ant_dir", "walker_params")
  tasks: int = 5
  batch: int = 256
  width: int = 100
  layer: str = "weight_transform"
  data_tasks: int = 35
  data_rows: int = 2_000
  updates: int = 20  # of each member in a timed call
  repeats: int = 5
  horizon: int = 100  # control steps of an episode
  matrix: int = 8_192
  elements: int = 500_000_000


SMALL = Settings(
  members=(2,),
  episodes=(2,),
  families=("cheetah_dir",),
  tasks=2,
  batch=4,
  width=4,
  layer="dense",
  data_tasks=8,
  data_rows=520,
  updates=1,
  repeats=2,
  horizon=2,
  matrix=64,
  elements=10_000,
)

CONTEXT_BASED = ("focal", "pearl_offline")
TORCH_VERSIONS = ("torch_factored", "torch_loop", "torch_compiled")
PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Machine:
  """The rates of the card, measured when they are first asked for."""

  def __init__(self, settings: Settings) -> None:
    self.settings = settings

  @functools.cache  # noqa: B019  One machine a process.
  def flops(self, precision: str) -> float:
    """Operations a second of a large product in this precision."""
    size, repeats = self.settings.matrix, self.settings.repeats
    return rates.product_rate(size, size, size, products=1, repeats=repeats, dtype=PRECISIONS[precision])

  @functools.cached_property
  def bytes(self) -> float:
    """Bytes a second that a pass over a large array reads and writes."""
    return rates.memory_rate(self.settings.elements, repeats=self.settings.repeats)


def make_jobs(settings: Settings) -> list[Job]:
  """The rows in order of precedence: of every kind the first size, then of every kind the second."""
  machine = Machine(settings)
  macaw = {
    precision: macaw_recipe(
      settings.tasks, settings.batch, settings.width, layer=settings.layer, matmul_precision=precision
    )
    for precision in PRECISIONS
  }
  macaw_data = functools.partial(random_dataset, settings.tasks, settings.data_rows + 2 * settings.batch)
  data = functools.partial(random_dataset, settings.data_tasks, settings.data_rows)
  update = functools.partial(update_row, settings, machine)

  jobs = [
    Job("rates", "rates of the machine", functools.partial(rates_row, machine), 20.0),
    Job("macaw", "macaw, alone", functools.partial(update, "macaw", macaw["float32"], macaw_data, None), 60.0),
  ]
  for index in range(max(len(settings.members), len(settings.episodes), len(TORCH_VERSIONS))):
    for members in settings.members[index : index + 1]:
      for precision, recipe in macaw.items():
        run = functools.partial(update, "macaw", recipe, macaw_data, members, precision=precision)
        jobs.append(Job("macaw", f"macaw, {counted(members, 'member')}, {precision}", run, 60.0))
      for name in CONTEXT_BASED:
        run = functools.partial(configured_row, update, name, settings.data_tasks, data, members)
        jobs.append(Job(name, f"{name}, {counted(members, 'member')}", run, 30.0))
    for version in TORCH_VERSIONS[index : index + 1]:
      guess = 120.0 if version == "torch_compiled" else 30.0
      jobs.append(Job(version.replace("_", " "), version, functools.partial(torch_row, settings, version), guess))
    for episodes in settings.episodes[index : index + 1]:
      for family in settings.families:
        run = functools.partial(episodes_row, settings, machine, family, episodes)
        jobs.append(Job(f"mjx {family}", f"{family}, {counted(episodes, 'episode')}", run, 90.0))
  return jobs


def rates_row(machine: Machine) -> Row:
  """The limits themselves."""
  return {
    "work": "rates",
    "flops": {precision: machine.flops(precision) for precision in PRECISIONS},
    "bytes": machine.bytes,
  }


def update_row(
  settings: Settings,
  machine: Machine,
  work: str,
  recipe: Recipe,
  make_data: Callable[[], Any],
  members: int | None,
  *,
  precision: str = "float32",
) -> Row:
  """Updates of a population, or of one run without an axis for members."""
  data, count = make_data(), members or 1
  if members is None:
    program = updates_of_one(recipe, data, settings.updates)
  else:
    program = updates_of_population(recipe, data, settings.updates, hyperparameters_of(work, members))
  row = program_row(
    program, settings, work, counted(members, "member") if members else "alone", settings.updates * count
  )
  return row | {
    "rate": "updates",
    "precision": precision,
    "members": count,
    **recipe.sizes,
    **shares(program, recipe, data, count, row["seconds"]["median"] / settings.updates, machine, precision),
  }


def configured_row(update: Callable[..., Row], name: str, num_tasks: int, *arguments: Any) -> Row:
  """Updates of an algorithm as its configuration has it; configurations need a package that may be missing."""
  from benchmarks.configured import configured_recipe

  return update(name, configured_recipe(name, {}, num_tasks), *arguments)


def hyperparameters_of(work: str, members: int) -> list[dict[str, float]]:
  """Those of each member; MACAW's differ also in them, not only in their seeds."""
  if work != "macaw":
    return [{} for _ in range(members)]
  return [{"temperature": 0.5 + index / members} for index in range(members)]


def shares(
  program: Program, recipe: Recipe, data: Any, members: int, seconds: float, machine: Machine, precision: str
) -> Row:
  """The shares of the card's limits that one update of all members takes in so many seconds."""
  flops, moved = update_flops(recipe, data), rates.bytes_of(program.compiled)
  return {
    "flops": None if flops is None else flops * members,
    "bytes": moved,
    "share_of_products": None if flops is None else flops * members / seconds / machine.flops(precision),
    "share_of_bandwidth": None if moved is None else moved / seconds / machine.bytes,
  }


def update_flops(recipe: Recipe, data: Any) -> float | None:
  """Floating-point operations of one member's update."""
  algorithm, key = recipe.make(), jax.random.key(0)
  state = jax.eval_shape(algorithm.init, key)
  return rates.flops_of(
    lambda state, data, key: algorithm.update(state, recipe.sample(data, key), key), state, data, key
  )


def episodes_row(settings: Settings, machine: Machine, name: str, episodes: int) -> Row:
  """Episodes of a family on MJX."""
  from benchmarks.episodes import episodes_on_mjx
  from macaw_jax import envs

  family = envs.make(name)
  family = family._replace(horizon=min(settings.horizon, family.horizon))
  program = episodes_on_mjx(family, episodes)
  row = program_row(program, settings, name, counted(episodes, "episode"), family.horizon * episodes)
  moved, step = rates.bytes_of(program.compiled), row["seconds"]["median"] / family.horizon
  share = None if moved is None else moved / step / machine.bytes
  return row | {"rate": "steps", "precision": "float32", "episodes": episodes, "share_of_bandwidth": share}


def program_row(program: Program, settings: Settings, work: str, size: str, units: int) -> Row:
  """Times a program whose every call does so many units of work."""
  memory = rates.memory_of(program.compiled)
  return timed_row(program.run, settings, work, size, units) | {
    "compile_seconds": program.compile_seconds,
    "memory_bytes": memory,
  }


def timed_row(run: Callable[[], None], settings: Settings, work: str, size: str, units: int) -> Row:
  """Seconds of a call, and units of work a second."""
  (times,) = interleave({work: run}, settings.repeats).values()
  seconds = [each.wall for each in times]
  return {
    "work": work,
    "size": size,
    "seconds": spread(seconds)._asdict(),
    "per_second": spread([units / each for each in seconds])._asdict(),
  }


def torch_row(settings: Settings, version: str) -> Row:
  """An update of MACAW in PyTorch, on the accelerator if there is one; its meta-gradient is compared with ours."""
  import torch

  from benchmarks.update_versions import OURS, RUN_KEY, VERSIONS, Sizes, make_dataset, relative_difference, sample

  device = "cuda" if torch.cuda.is_available() else "cpu"
  if device == "cuda":
    torch.set_float32_matmul_precision("high")  # As JAX multiplies there.
    torch.cuda.reset_peak_memory_stats()
  elif jax.default_backend() != "cpu":
    raise ImportError("PyTorch is installed without support for this accelerator")
  sizes = Sizes(tasks=settings.tasks, batch=settings.batch, width=settings.width)
  dataset = make_dataset(sizes)
  tasks = jax.jit(functools.partial(sample, sizes))(dataset, jax.random.key(RUN_KEY))
  theirs = VERSIONS[version](sizes, dataset)
  difference = relative_difference(theirs.gradient(tasks), VERSIONS[OURS](sizes, dataset).gradient(tasks))
  program = theirs.prepare(settings.updates)
  row = timed_row(program.run, settings, version, "alone", settings.updates)
  return row | {
    "rate": "updates",
    "precision": "float32",
    "compile_seconds": program.compile_seconds,
    "memory_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    "gradient_difference": difference,
  }


def counted(count: int, noun: str) -> str:
  """A number with its noun.

  >>> counted(4096, "episode"), counted(1, "member")
  ('4,096 episodes', '1 member')
  """
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(row: Row) -> dict[str, str]:
  """A row of the table."""

  def cell(name: str, form: Callable[[float], str]) -> str:
    value = row.get(name)
    return "-" if value is None else form(value)

  return {
    "work": row["work"],
    "size": row["size"],
    "products of": row["precision"],
    "a second": f"{show(Spread(**row['per_second']), 1)} {row['rate']}",
    "compile s": cell("compile_seconds", lambda value: f"{value:.1f}"),
    "memory MB": cell("memory_bytes", lambda value: f"{value / 1e6:,.0f}"),
    "products": cell("share_of_products", lambda value: f"{100 * value:.1f} %"),
    "bandwidth": cell("share_of_bandwidth", lambda value: f"{100 * value:.1f} %"),
  }


def report(outcome: Outcome, where: dict[str, Any]) -> str:
  """All of it as Markdown: the device, its rates, the table, and what was left out."""
  versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
  lines = [f"{where['device']}; commit {where['git_commit']}; {versions}", ""]
  for row in outcome.rows:
    if row["work"] == "rates":
      products = ", ".join(f"{precision} {flops / 1e12:.2f}" for precision, flops in row["flops"].items())
      lines += [f"Large products, TFLOP/s: {products}. Memory, GB/s: {row['bytes'] / 1e9:.0f}.", ""]
  if measured := [row for row in outcome.rows if row["work"] != "rates"]:
    lines += [table([shown(row) for row in sorted(measured, key=_order)]), ""]
  lines += [f"- left out: {name}: {reason}" for name, reason in outcome.left_out]
  return "\n".join(lines) + "\n"


def _order(row: Row) -> tuple[str, int, str]:
  count = 0 if row["size"] == "alone" else int(row.get("members") or row["episodes"])
  return row["work"], count, row["precision"]


def write(folder: Path, outcome: Outcome, where: dict[str, Any]) -> None:
  """Both files, each whole or as it was."""
  folder.mkdir(parents=True, exist_ok=True)
  left_out = [each._asdict() for each in outcome.left_out]
  write_results(folder / "accelerator.json", "accelerator", outcome.rows, where=where, left_out=left_out)
  (folder / "accelerator.md").write_text(report(outcome, where))


def main(arguments: Sequence[str]) -> None:
  """Measures what fits and shows the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)
  folder, where = Path(RESULTS.value), environment()
  jobs = make_jobs(SMALL if IS_SMALL.value else Settings())
  kinds = {job.kind.split()[0] for job in jobs}
  if unknown := set(ONLY.value or ()) - kinds:
    raise app.UsageError(f"--only: {min(unknown)!r} is none of {', '.join(sorted(kinds))}")
  jobs = [job for job in jobs if job.kind.split()[0] in (ONLY.value or kinds)]

  def after_each(outcome: Outcome) -> None:
    write(folder, outcome, where)
    done = len(outcome.rows) + len(outcome.left_out)
    print(f"{time.monotonic() - STARTED:5.0f} s  {done} of {len(jobs)}: {jobs[done - 1].name}", flush=True)

  outcome = run_jobs(jobs, STARTED + 60.0 * MINUTES.value, after_each)
  print(f"\n{report(outcome, where)}\nresults in {folder.resolve()}")
  if not outcome.rows:
    raise SystemExit("nothing could be measured")


if __name__ == "__main__":
  app.run(main)
