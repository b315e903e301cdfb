"""The collector: environment steps and updates a second, and where its time goes.

python -m benchmarks.collect
python -m benchmarks.collect --families=cheetah_dir --rounds=40

Collects a short dataset as `python -m experiments.collect --config=configs/collect/<family>.py` does, in rounds of
episodes and updates, and writes it. Simulation is the rollout with the agent acting in it, and what the same episodes
would take without learning; relabelling gives transitions their rewards under every task; the rest of a round
is the agent's updates and its replay memory. Shares are medians over the rounds, but for the first, which compiles;
writing the dataset, once in a collection, and the whole short collection with its compilation stand apart. All on one
core.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks.measure import Spread, show, spread, table, write_results
from configs.collect import any as any_family
from experiments.collect import make_manifest, read_config
from macaw_jax import envs
from macaw_jax.collection import collect as collector
from macaw_jax.data.dataset import write_episodes
from macaw_jax.envs.names import directory_name

FAMILIES = flags.DEFINE_list("families", ["point_robot", "cheetah_dir"], "Task families, a table row each.")
ROUNDS = flags.DEFINE_integer("rounds", 10, "Rounds after the warm-up; the first compiles.", lower_bound=2)
UPDATES = flags.DEFINE_integer("updates", None, "Updates of a round; those of the family's configuration if not given.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

WRITES = 5


class Stopwatch:
  """Seconds of each call of a function, its inputs and its outputs waited for."""

  def __init__(self, function: Callable[..., Any]):
    self._function = function
    self.seconds: list[float] = []

  def __call__(self, *arguments: Any, **options: Any) -> Any:
    """Calls the function."""
    jax.block_until_ready(arguments)
    started = time.perf_counter()
    result = jax.block_until_ready(self._function(*arguments, **options))
    self.seconds.append(time.perf_counter() - started)
    return result


def stopwatches(factory: Callable[..., Any], made: list[Stopwatch]) -> Callable[..., Stopwatch]:
  """The factory of functions, each of them in a stopwatch, which is kept in `made` too."""

  def make(*arguments: Any, **options: Any) -> Stopwatch:
    made.append(Stopwatch(factory(*arguments, **options)))
    return made[-1]

  return make


def short_collection(name: str, directory: Path) -> ConfigDict:
  """The family's configuration, cut to `ROUNDS`."""
  config = any_family.get_config(name)
  sweeps = math.ceil(ROUNDS.value * config.tasks_per_round / envs.make(name).num_tasks)
  config.episodes_per_task = config.warmup_episodes + sweeps
  config.directory, config.starter_directory = str(directory / directory_name(name)), ""
  config.other_policy_episodes, config.reference_episodes = 0, 1
  if UPDATES.value is not None:
    config.updates_per_round = UPDATES.value
  return config


def measure_family(name: str, directory: Path) -> dict[str, Any]:
  """A short collection of one family: its rates, and seconds of its parts, each a median."""
  request, family, settings = read_config(short_collection(name, directory))
  stamps, steps = [], []

  def report(progress: collector.Progress) -> None:
    stamps.append(time.perf_counter())
    steps.append(progress.environment_steps)

  rollouts: list[Stopwatch] = []
  relabels: list[Stopwatch] = []
  with (
    mock.patch.object(collector, "make_rollout", stopwatches(collector.make_rollout, rollouts)),
    mock.patch.object(collector, "make_relabel", stopwatches(collector.make_relabel, relabels)),
  ):
    started = time.perf_counter()
    collection = collector.collect(family, settings, report=report)
    total = time.perf_counter() - started
  manifest = make_manifest(family, settings, collection, commit=None)
  write = Stopwatch(write_episodes)
  for index in range(WRITES):
    write(f"{request.directory}_{index}", collection.episodes, manifest)

  (_, by_agent), (relabel,) = rollouts, relabels  # the first rollout acts at random
  rounds = np.diff(stamps)  # without the first, which compiles
  simulation = by_agent.seconds[1 : len(stamps)]
  relabelling = relabel.seconds[settings.warmup_episodes + 1 :]
  round_seconds, simulation_seconds = spread(list(rounds)), spread(simulation)
  steps_a_round = float(np.mean(np.diff(steps)))
  seconds = {
    "simulation": simulation_seconds.median,
    "relabelling": spread(relabelling).median,
    "updates": float(np.median(rounds - np.add(simulation, relabelling))),
  }
  whole = sum(seconds.values())
  return {
    "family": name,
    "steps_a_round": steps_a_round,
    "updates_a_round": settings.updates_per_round,
    "round_seconds": round_seconds._asdict(),
    "steps_per_second": steps_a_round / round_seconds.median,
    "updates_per_second": settings.updates_per_round / round_seconds.median,
    "simulation_steps_per_second": steps_a_round / simulation_seconds.median,
    "ratio": round_seconds.median / simulation_seconds.median,
    "shares": {part: value / whole for part, value in seconds.items()},
    "writing_seconds": spread(write.seconds).median,
    "total_seconds": total,
  }


def main(argv: Sequence[str]) -> None:
  """Measures every family, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  for name in FAMILIES.value:
    if not envs.is_name(name):
      raise app.UsageError(f"--families: no family {name!r}; expected some of {', '.join(sorted(envs.FAMILIES))}")
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as directory:
    rows = [measure_family(name, Path(directory)) for name in FAMILIES.value]
  print(f"on {jax.devices()[0].device_kind}; a ratio is a round's seconds to those of its simulation alone")
  shown = [
    {
      "family": row["family"],
      "steps, updates a round": f"{row['steps_a_round']:,.0f}, {row['updates_a_round']}",
      "round s": show(Spread(**row["round_seconds"]), 2),
      "steps/s": f"{row['steps_per_second']:,.0f}",
      "updates/s": f"{row['updates_per_second']:,.0f}",
      "steps/s without learning": f"{row['simulation_steps_per_second']:,.0f}",
      "ratio": f"{row['ratio']:.2f}",
    }
    | {part: f"{100.0 * share:.1f} %" for part, share in row["shares"].items()}
    | {"writing all s": f"{row['writing_seconds']:.2f}", "all s": f"{row['total_seconds']:.1f}"}
    for row in rows
  ]
  print(table(shown))
  if OUTPUT.value:
    write_results(OUTPUT.value, "collect", rows)


if __name__ == "__main__":
  app.run(main)
