"""The collection of any family, one of your own among them, without a file of its own.

  python -m experiments.collect --config=configs/collect/any.py:my_envs:reach             data/reach
  python -m experiments.collect --config=configs/collect/any.py:point_robot+time_to_go    data/point_robot_time_to_go

A variant of a family that has a file here takes the values of that file. For other families the values follow from the
sizes: about 4,000 transitions of each task, and an update of the agent for every four steps.
"""

import importlib
import importlib.util

from ml_collections import ConfigDict

from macaw_jax import envs
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.names import directory_name, parse_name

from .defaults import defaults

TRANSITIONS = 4_000  # of each task, about
EPISODES = (20, 200)  # of each task, at least and at most
MOST_TASKS_PER_ROUND = 20
UPDATES_PER_STEP = 0.25
ROWS_PER_UPDATE = 256  # of all tasks, about


def get_config(family: str) -> ConfigDict:
  """Values of the collection of a family, by any name that `macaw_jax.envs.make` takes."""
  base = parse_name(family).base
  if base in envs.FAMILIES and importlib.util.find_spec(f"{__package__}.{base}"):
    config = importlib.import_module(f"{__package__}.{base}").get_config()
    config.family, config.directory = family, f"data/{directory_name(family)}"
    return config
  return defaults(family, **values_for(envs.make(family)))


def values_for(family: TaskFamily) -> dict[str, float]:
  """Values that follow from the sizes of a family."""
  num_tasks = family.num_tasks
  fewest, most = EPISODES
  at_once = max(count for count in range(1, MOST_TASKS_PER_ROUND + 1) if num_tasks % count == 0)
  return {
    "episodes_per_task": min(max(fewest, TRANSITIONS // family.horizon), most),
    "warmup_episodes": 2,
    "tasks_per_round": at_once,
    "updates_per_round": max(1, round(UPDATES_PER_STEP * at_once * family.horizon)),
    "batch_size": max(4, ROWS_PER_UPDATE // num_tasks),
    "own_fraction": 1.0 if family.differ_in == "physics" else 0.5,
    "other_policy_episodes": 10 if num_tasks > 1 else 0,
  }
