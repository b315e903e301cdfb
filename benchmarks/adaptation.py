"""Milliseconds of one adaptation to a new task, on the support itself and on retrieved rows.

python -m benchmarks.adaptation
python -m benchmarks.adaptation --only=focal --tasks=20 --batch=100

Algorithms as their configurations for the half-cheetah's velocities have them, on random data of that family's sizes:
256 transitions in, an adapted agent out, or 1,024 rows retrieved from 1,000 of each training task. One adaptation, and
as many as `--batch` says in one program, each with a support of its own. The process runs on one core; milliseconds of
one adaptation, median and quartiles over repeats that take turns; ratio is that of processor times to the plain one.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags, logging

from benchmarks.configured import configured_recipe
from benchmarks.measure import interleave, show, spread, table, write_results
from benchmarks.random_data import half_cheetah_problem, random_dataset
from macaw_jax.adaptation.retrieval import add_reference
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import gather, random_subset
from macaw_jax.retrieval import RetrievalSettings, fit_reference, with_retrieval
from macaw_jax.types import Array, Key, Transition

SUPPORT_SIZE = 256
CALLS = 20  # of a program of one adaptation: threads of the program before stay awake for some milliseconds

NAMES = flags.DEFINE_list("only", ["macaw", "pearl_offline", "multitask_awr"], "Names of configurations.")
NUM_TASKS = flags.DEFINE_integer("tasks", 35, "Training tasks.", lower_bound=2)
NUM_ROWS = flags.DEFINE_integer("rows", 2_000, "Transitions of each task.", lower_bound=SUPPORT_SIZE)
BATCH = flags.DEFINE_integer("batch", 50, "Adaptations in one program, beside one alone.", lower_bound=2)
NUM_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls of each version.", lower_bound=1)
RESULTS = flags.DEFINE_string("output", None, "JSON file of the results.")


def main(arguments: list[str]) -> None:
  """Compiles, times and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)
  data, key = random_dataset(NUM_TASKS.value, NUM_ROWS.value), jax.random.key(0)
  settings = RetrievalSettings("rewards")
  reference = fit_reference(data, settings, key)

  calls: dict[str, Callable[[], Any]] = {}
  for name in NAMES.value:
    algorithm = configured_recipe(name, {}, NUM_TASKS.value).make()
    params = algorithm.init(key).params
    versions = {"plain": (algorithm, params)}
    retrieving = with_retrieval(algorithm, half_cheetah_problem(NUM_TASKS.value), settings)
    versions["retrieval"] = (retrieving, add_reference(params, reference))
    for version, (adapting, held) in versions.items():
      for batch in (1, BATCH.value):
        adapt = jax.jit(jax.vmap(adapting.adapt, in_axes=(None, 0, 0)))
        inputs = (held, supports(data, batch), jax.random.split(key, batch))
        calls[f"{name} {version} {batch}"] = partial(_run, adapt, inputs, calls_of(batch))

  times = interleave(calls, NUM_REPEATS.value)
  print(f"on {jax.devices()[0].device_kind}, jax {jax.__version__}; {NUM_TASKS.value} training tasks\n")
  records, rows = [], []
  for name in NAMES.value:
    for batch in (1, BATCH.value):
      milliseconds = {
        version: spread(
          [1e3 * each.processor / (calls_of(batch) * batch) for each in times[f"{name} {version} {batch}"]]
        )
        for version in ("plain", "retrieval")
      }
      for version, each in milliseconds.items():
        ratio = each.median / milliseconds["plain"].median
        records.append(
          {"algorithm": name, "version": version, "adaptations": batch} | each._asdict() | {"ratio": ratio}
        )
        rows.append(
          {
            "algorithm": name,
            "adapts to": {"plain": "the support", "retrieval": "retrieved rows"}[version],
            "adaptations in one program": batch,
            "ms each": show(each, 2),
            "ratio to plain": f"{ratio:.1f}",
          }
        )
  print(table(rows))
  if RESULTS.value:
    write_results(RESULTS.value, "adaptation", records)


def supports(data: Dataset, count: int) -> Transition:
  """Random rows of the tasks in turn, `[count, 256, ...]`."""

  def one(task: Array, key: Key) -> Transition:
    return gather(data, task, random_subset(key, data.size[task], SUPPORT_SIZE))

  return jax.vmap(one)(jnp.arange(count) % NUM_TASKS.value, jax.random.split(jax.random.key(1), count))


def calls_of(batch: int) -> int:
  """Calls that are timed together, of a program of so many adaptations."""
  return max(CALLS // batch, 1)


def _run(program: Callable[..., Any], inputs: tuple[Any, ...], calls: int) -> None:
  for _ in range(calls):
    jax.block_until_ready(program(*inputs))


if __name__ == "__main__":
  app.run(main)
