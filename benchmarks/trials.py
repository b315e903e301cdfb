"""Agents that learn from trials or in known tasks: steps and updates a second, and the share that the physics takes.

python -m benchmarks.trials
python -m benchmarks.trials --families=point_robot --algorithms=rl2

Each algorithm as its configuration for a family has it: an update acts in the episodes of its tasks, and learns from
them. `collect` is that part of it, without learning; `physics` are the same episodes with actions of zero and no
network. All are compiled programs on one core, and take turns; `start` is the first call less a later one: compilation.
Ratios are of processor times to the whole update of the same family by the first algorithm.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags, logging

from benchmarks.measure import Spread, interleave, measure, ratio_of_medians, show, spread, table, write_results
from experiments.configuration import settings_of
from macaw_jax import envs
from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.collection.on_policy import experience_task
from macaw_jax.envs.family import Task
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.sources.on_policy import collecting, sample_distinct_tasks
from macaw_jax.types import Algorithm, Key, Params, Problem

REMEMBER = ("rl2", "varibad")
KNOW = ("multitask_ppo", "distral", "divide_and_conquer")
# Observations of the last one tell the task.
ALGORITHMS = {
  "bandit_100": REMEMBER,
  "maze": REMEMBER,
  "point_robot": REMEMBER,
  "cheetah_vel": REMEMBER,
  "maze_8+task_index": KNOW,
}

FAMILIES = flags.DEFINE_multi_enum("families", list(ALGORITHMS), list(ALGORITHMS), "Task families; may be repeated.")
NAMES = flags.DEFINE_multi_enum(
  "algorithms", [*REMEMBER, *KNOW], [*REMEMBER, *KNOW], "Algorithms to measure, each in its families; may be repeated."
)
TASKS = flags.DEFINE_integer("tasks", None, "Tasks of a memory's update, where fewer than configured.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each program.", lower_bound=2)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/trials.json", "Where the figures go.")


def programs_of(name: str, family_name: str) -> tuple[dict[str, Callable[[], Any]], int]:
  """Calls of an update, of its episodes and of their physics, and the steps of an update."""
  config = importlib.import_module(f"configs.{name}").get_config(family_name)
  rollouts, family = config.rollouts, envs.make(family_name)
  settings, num_tasks = settings_of(config), rollouts.tasks_per_update
  if name in REMEMBER and TASKS.value:
    num_tasks = min(num_tasks, TASKS.value)
    settings["ppo"]["minibatches"] = min(settings["ppo"]["minibatches"], num_tasks)
  problem = Problem(
    family.observation_size,
    family.action_size,
    len(family.train_tasks),
    rollouts.discount,
    family.horizon,
    family.discrete_actions,
  )
  algorithm = make_algorithm(name, problem, settings)
  rollout = make_sampled_rollout(family, algorithm.act)
  tasks = jax.tree.map(jnp.asarray, sample_distinct_tasks(family.tasks, jax.random.key(1), num_tasks=num_tasks))
  episodes, inner_steps = rollouts.episodes, rollouts.inner_steps
  learner = collecting(algorithm, rollout, num_episodes=episodes, inner_steps=inner_steps)
  state = learner.init(jax.random.key(0))
  still = algorithm._replace(
    act=lambda params, adapted, timestep, key: (jnp.zeros(family.action_size), adapted),
    adapt=lambda params, support, key: {},
    prior=lambda params, key: {},
  )
  update = jax.jit(learner.update)
  collect = jax.jit(partial(_collect, algorithm, rollout, episodes, inner_steps))
  physics = jax.jit(partial(_collect, still, make_sampled_rollout(family, still.act), episodes, inner_steps))
  key = jax.random.key(2)
  steps = num_tasks * episodes * family.horizon * (inner_steps + 1)
  return {
    "update": lambda: jax.block_until_ready(update(state, tasks, key)),
    "collect": lambda: jax.block_until_ready(collect(state.params, tasks, key)),
    "physics": lambda: jax.block_until_ready(physics(state.params, tasks, key)),
  }, steps


def _collect(
  algorithm: Algorithm, rollout: Any, episodes: int, inner_steps: int, params: Params, tasks: Task, key: Key
) -> Any:
  """The rewards of the episodes of an update."""

  def act_in(task: Task, key: Key) -> Any:
    key_experience, key_query = jax.random.split(key)
    experience = experience_task(
      algorithm, rollout, params, task, key_experience, num_episodes=episodes, adaptation_steps=inner_steps
    )
    return experience.returns, rollout(params, experience.adapted, task, key_query, episodes).reward

  return jax.vmap(act_in)(tasks, jax.random.split(key, len(jax.tree.leaves(tasks)[0])))


def measure_family(family: str) -> list[dict[str, Any]]:
  """A row for each program of each algorithm of a family."""
  names = [name for name in ALGORITHMS[family] if name in NAMES.value]
  if not names:
    return []
  calls: dict[tuple[str, str], Callable[[], Any]] = {}
  steps = {}
  for name in names:
    programs, steps[name] = programs_of(name, family)
    calls |= {(name, part): call for part, call in programs.items()}
  starts = {program: measure(call).wall for program, call in calls.items()}
  times = interleave(calls, REPEATS.value)
  processor = {program: [each.processor for each in found] for program, found in times.items()}
  rows = []
  for (name, part), found in times.items():
    seconds = spread([each.wall for each in found])
    whole = processor[name, "update"]
    rows.append(
      {
        "family": family,
        "algorithm": name,
        "part": part,
        "seconds": seconds._asdict(),
        "steps": steps[name],
        "steps_per_second": steps[name] / seconds.median,
        "share": spread(processor[name, part]).median / spread(whole).median,
        "ratio": ratio_of_medians(processor[name, part], processor[names[0], "update"])._asdict(),
        "start_seconds": starts[name, part] - seconds.median,
      }
    )
  return rows


def main(argv: list[str]) -> None:
  """Measures, prints a table and writes the figures."""
  del argv
  logging.set_verbosity(logging.WARNING)
  rows = [row for family in FAMILIES.value for row in measure_family(family)]
  shown = [
    {
      "family": row["family"],
      "algorithm": row["algorithm"],
      "part": row["part"],
      "ms": show(Spread(*(1e3 * value for value in row["seconds"].values()))),
      "steps/s": f"{row['steps_per_second']:,.0f}",
      "share of the update": f"{row['share']:.0%}",
      "start, s": f"{row['start_seconds']:.1f}",
    }
    for row in rows
  ]
  print(table(shown))
  write_results(OUTPUT.value, "trials", rows)


if __name__ == "__main__":
  app.run(main)
