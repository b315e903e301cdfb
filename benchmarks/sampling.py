"""Drawing a batch of tasks without replacement: the package's sampler against a shuffle and against the host.

python -m benchmarks.sampling
python -m benchmarks.sampling --rows=20000 --rows=200000

A batch is 5 tasks with 256 + 256 distinct transitions each. `sample_tasks` and `jax.random.choice` run inside a
compiled scan, as training does, and gather the same fields. The host draws with NumPy, gathers there and
sends the batch to the device, one batch a call. Microseconds of wall time a batch, the process on one core.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks.measure import interleave, show, spread, table, write_results
from benchmarks.random_data import random_dataset
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import gather, sample_tasks
from macaw_jax.types import Array, Key, TaskBatch, Transition

ROWS = flags.DEFINE_multi_integer(
  "rows", [20_000, 200_000, 1_000_000], "Transitions of a task; repeatable.", lower_bound=1
)
TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of a batch, and of the dataset.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=1)
BATCHES = flags.DEFINE_integer("batches", 100, "Batches of a timed call, where they are quick.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

OURS = "macaw_jax sample_tasks"
SHUFFLED_ROWS = 400_000  # About as many are shuffled in a timed call: a shuffle's cost grows with the dataset.

SampleTasks = Callable[[Dataset, Key], TaskBatch]
ChooseRows = Callable[[Key, int, int], Array]


def sample_by(choose: ChooseRows, dataset: Dataset, key: Key) -> TaskBatch:
  """As `sample_tasks` on all tasks, the rows chosen by `choose(key, size, count)`."""
  num_rows, task_index = dataset.reward.shape[1], jnp.arange(TASKS.value)

  def one(task: Array, key: Key) -> Any:
    rows = choose(key, num_rows, 2 * BATCH.value)
    return gather(dataset, task, rows[: BATCH.value]), gather(dataset, task, rows[BATCH.value :])

  support, query = jax.vmap(one)(task_index, jax.random.split(key, TASKS.value))
  return TaskBatch(support, query, task_index)


COMPILED: dict[str, tuple[SampleTasks, bool]] = {  # the sampler, and whether it shuffles all rows
  OURS: (
    lambda dataset, key: sample_tasks(
      dataset, key, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value
    ),
    False,
  ),
  "jax.random.choice": (  # shuffles all rows and keeps the first, as jax.random.permutation does
    partial(sample_by, lambda key, size, count: jax.random.choice(key, size, (count,), replace=False)),
    True,
  ),
}


def compile_batches(sample: SampleTasks, dataset: Dataset, count: int) -> tuple[Callable[[], Any], float]:
  """A call that draws `count` batches in one scan, and the seconds of its compilation."""

  def batches(dataset: Dataset, key: Key) -> TaskBatch:
    def step(_: TaskBatch, key: Key) -> tuple[TaskBatch, None]:
      return sample(dataset, key), None  # The carry is a whole batch: every one of them must be written.

    first, *others = jax.random.split(key, count + 1)
    last, _ = jax.lax.scan(step, sample(dataset, first), jnp.stack(others))
    return last

  started = time.perf_counter()
  program = jax.jit(batches).lower(dataset, jax.random.key(0)).compile()
  seconds = time.perf_counter() - started
  return lambda: jax.block_until_ready(program(dataset, jax.random.key(0))), seconds


def host_batches(dataset: Dataset, count: int) -> Callable[[], Any]:
  """A call that draws `count` batches with NumPy and sends each to the device."""
  generator, tasks = np.random.default_rng(0), np.arange(TASKS.value)
  host = jax.tree.map(np.asarray, dataset)

  def batch() -> Any:
    num_rows = host.reward.shape[1]
    rows = np.stack([generator.choice(num_rows, 2 * BATCH.value, replace=False) for _ in tasks])
    support, query = rows[:, : BATCH.value], rows[:, BATCH.value :]
    return jax.device_put((gather_all(host, tasks[:, None], support), gather_all(host, tasks[:, None], query), tasks))

  return lambda: [jax.block_until_ready(batch()) for _ in range(count)]


def gather_all(dataset: Dataset, tasks: np.ndarray, rows: np.ndarray) -> Transition:
  """As `gather`, all tasks at once in NumPy: `tasks` [T, 1] and `rows` [T, B]."""
  return Transition(
    observation=dataset.observation[tasks, rows],
    action=dataset.action[tasks, rows],
    reward=dataset.reward[tasks, rows],
    next_observation=dataset.next_observation[tasks, rows],
    terminal=dataset.terminal[tasks, rows],
    last=dataset.last[tasks, rows],
    mc_return=dataset.mc_return[tasks, rows],
    final_observation=dataset.final_observation[tasks, dataset.episode_index[tasks, rows]],
    final_discount=dataset.final_discount[tasks, rows],
  )


def main(argv: list[str]) -> None:
  """Times every size, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  if min(ROWS.value) < 2 * BATCH.value:
    raise app.UsageError(f"--rows={min(ROWS.value)}: expected at least the {2 * BATCH.value} transitions of a batch")
  logging.set_verbosity(logging.WARNING)
  print(f"{TASKS.value} tasks, {BATCH.value} + {BATCH.value} transitions, on {jax.devices()[0].device_kind}")
  rows: list[dict[str, Any]] = []
  for num_rows in ROWS.value:
    rows += measure_rows(num_rows)
  shown = [
    {
      "transitions a task": f"{row['rows']:,}",
      "version": row["version"],
      "microseconds a batch": show(row["microseconds"], 0),
      "ratio": f"{row['ratio']:.2f}",
      "compile s": "-" if row["compile_seconds"] is None else f"{row['compile_seconds']:.1f}",
    }
    for row in rows
  ]
  print(table(shown))
  if OUTPUT.value:
    write_results(OUTPUT.value, "sampling", [{**row, "microseconds": row["microseconds"]._asdict()} for row in rows])


def measure_rows(num_rows: int) -> list[dict[str, Any]]:
  """The rows of one size of dataset; a ratio is to `sample_tasks`."""
  dataset = jax.block_until_ready(random_dataset(TASKS.value, num_rows))
  few = min(BATCHES.value, max(1, SHUFFLED_ROWS // (TASKS.value * num_rows)))
  calls: dict[str, Callable[[], Any]] = {}
  counts, seconds = {}, {}
  for name, (sample, shuffles) in COMPILED.items():
    count = few if shuffles else BATCHES.value
    calls[name], seconds[name] = compile_batches(sample, dataset, count)
    counts[name] = count + 1  # the first stands outside the scan
  calls["NumPy, then transfer"] = host_batches(dataset, BATCHES.value)
  counts["NumPy, then transfer"] = BATCHES.value
  spreads = {
    name: spread([one.wall * 1e6 / counts[name] for one in times])
    for name, times in interleave(calls, REPEATS.value).items()
  }
  return [
    {
      "rows": num_rows,
      "version": name,
      "microseconds": values,
      "ratio": values.median / spreads[OURS].median,
      "compile_seconds": seconds.get(name),
    }
    for name, values in spreads.items()
  ]


if __name__ == "__main__":
  app.run(main)
