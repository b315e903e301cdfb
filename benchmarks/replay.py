"""Agents that fill a replay buffer: steps and updates a second, and the share that the physics takes.

python -m benchmarks.replay
python -m benchmarks.replay --agents=multitask_sac:cheetah_vel,pearl:point_robot

An iteration, as the configuration of an agent has it, collects episodes in some tasks and then makes some updates.
`physics` are the same number of episodes in the first of these tasks, with actions of zero and no network. On one core;
the parts take turns. `share` is that of the processor time of episodes and updates together; `start` is the first call
less a later one: compilation.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks.measure import Spread, interleave, measure, show, spread, table, write_results
from experiments.build import build
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.training.loop import initialise, make_chunk

AGENTS = flags.DEFINE_list(
  "agents",
  ["multitask_sac:cheetah_vel", "multitask_sac:ant_dir", "pearl:cheetah_vel", "pearl:point_robot"],
  "Configurations, and the families that they are for.",
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each part.", lower_bound=2)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/replay.json", "Where the figures go.")


def parts_of(agent: str) -> tuple[dict[str, Callable[[], Any]], int, int]:
  """Calls of the updates, the episodes and the physics of an iteration, and its numbers of updates and of steps."""
  name, _, family_name = agent.partition(":")
  config = importlib.import_module(f"configs.{name}").get_config(family_name)
  run = build(config)
  family, source, updates = run.family, run.source, config.training.updates_per_iteration
  assert family is not None
  assert source.refresh is not None
  refresh, algorithm = source.refresh, run.make_algorithm()
  key = jax.random.key(0)
  state = initialise(algorithm, key)
  update = jax.jit(make_chunk(algorithm, source.sample, updates))
  data = source.init(state.params, key)
  collection = config.collection
  num_tasks = collection.tasks_per_iteration
  episodes = num_tasks * (collection.prior_episodes + collection.posterior_episodes + collection.extra_episodes)
  still = make_rollout(family, lambda params, adapted, timestep, key: (jnp.zeros(family.action_size), adapted))
  indices = np.resize(np.asarray(family.train_tasks)[:num_tasks], episodes)
  tasks = jax.tree.map(lambda leaf: np.asarray(leaf)[indices], family.tasks)

  def collect() -> None:
    nonlocal data
    data, _ = jax.block_until_ready(refresh(state.params, data, key))

  return (
    {
      "updates": lambda: jax.block_until_ready(update(state, data, key)),
      "episodes": collect,
      "physics": lambda: jax.block_until_ready(still({}, {}, tasks, key, deterministic=True)),
    },
    updates,
    episodes * family.horizon,
  )


def measure_agent(agent: str) -> list[dict[str, Any]]:
  """A row for each part of an iteration."""
  calls, updates, steps = parts_of(agent)
  starts = {part: measure(call).wall for part, call in calls.items()}
  times = interleave(calls, REPEATS.value)
  processor = {part: spread([each.processor for each in of_part]).median for part, of_part in times.items()}
  rows = []
  for part, of_part in times.items():
    seconds = spread([each.wall for each in of_part])
    rows.append(
      {
        "agent": agent,
        "part": part,
        "seconds": seconds._asdict(),
        "updates": updates if part == "updates" else None,
        "steps": None if part == "updates" else steps,
        "per_second": (updates if part == "updates" else steps) / seconds.median,
        "share": processor[part] / (processor["updates"] + processor["episodes"]),
        "start_seconds": starts[part] - seconds.median,
      }
    )
  return rows


def main(argv: list[str]) -> None:
  """Measures, prints a table and writes the figures."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  rows = [row for agent in AGENTS.value for row in measure_agent(agent)]
  shown = [
    {
      "agent": row["agent"],
      "part": row["part"],
      "ms": show(Spread(*(1e3 * value for value in row["seconds"].values()))),
      "a second": f"{row['per_second']:,.0f} {'updates' if row['updates'] else 'steps'}",
      "share of the iteration": f"{row['share']:.0%}",
      "start, s": f"{row['start_seconds']:.1f}",
    }
    for row in rows
  ]
  print(table(shown))
  write_results(OUTPUT.value, "replay", rows)


if __name__ == "__main__":
  app.run(main)
