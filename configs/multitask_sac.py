"""Multi-task soft actor-critic, which is told the task; it fills a replay buffer, or learns from recorded data.

python -m experiments.run --config=configs/multitask_sac.py                        point robot, 80 goals
python -m experiments.run --config=configs/multitask_sac.py:cheetah_vel            half-cheetah at 35 velocities
python -m experiments.run --config=configs/multitask_sac.py:ant_dir                ant in 35 directions
python -m experiments.run --config=configs/multitask_sac.py:cheetah_dir,recorded   starter data
"""

from typing import Any

import ml_collections

from .defaults import defaults
from .pearl import VALUES
from .replayed import replayed
from .section import depart

SOURCES = ("replay", "recorded")
BODIES = ("cheetah_vel", "cheetah_dir", "ant_dir")
# A third of PEARL's updates.
BODIES_TRAINING = {"steps": 15_000, "evaluate_every": 3_000, "checkpoint_every": 3_000}


def get_config(data: str = "point_robot", source: str = "replay") -> ml_collections.ConfigDict:
  """Multi-task SAC in a family, or on the recorded data of a name; observations end with the task's numbers."""
  if source not in SOURCES:
    raise ValueError(f"{source!r}: expected one of {', '.join(SOURCES)}")
  if source == "recorded":
    config = defaults("multitask_sac", data)
    config.dataset.shown_task = "task_vector"
    config.training.steps = 10_000
    config.training.tasks_per_update = 8
    config.training.support_size = 1  # not read
    config.training.evaluate_every = config.training.checkpoint_every = 2_500
    return config
  departures: dict[str, Any] = {"actor_critic": {"hidden_sizes": (128, 128)}}
  if data in BODIES:
    departures["learning_rate"] = 1e-3
  config = replayed("multitask_sac", data, departures)
  if data in BODIES:
    depart(config.collection, VALUES["cheetah_vel"]["collection"], "config.collection")
    depart(config.training, VALUES["cheetah_vel"]["training"] | BODIES_TRAINING, "config.training")
  config.collection.update({"prior_episodes": 1, "posterior_episodes": 0, "extra_episodes": 0})
  config.training.update({"repeated_tasks": False, "support_size": 1})  # no context is read
  config.evaluation.update({"exploration_episodes": 1, "adapted_episodes": 1})
  config.collection.family = f"{data}+task_vector"
  config.collection.ignored_observations = (17,) if data.startswith("cheetah") else ()
  return config
