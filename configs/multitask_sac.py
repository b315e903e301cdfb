"""Multi-task soft actor-critic, which is told the task; it fills a replay buffer, or learns from recorded data.

python -m experiments.run --config=configs/multitask_sac.py                        point robot, 80 goals
python -m experiments.run --config=configs/multitask_sac.py:cheetah_vel            half-cheetah at 35 velocities
python -m experiments.run --config=configs/multitask_sac.py:ant_dir                ant in 35 directions
python -m experiments.run --config=configs/multitask_sac.py:cheetah_dir,recorded   starter data
"""

import ml_collections

from .defaults import defaults
from .pearl import VALUES
from .replayed import replayed
from .section import depart

SOURCES = ("replay", "recorded")


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
  config = replayed("multitask_sac", data, {"actor_critic": {"hidden_sizes": (128, 128)}})
  body = VALUES["cheetah_vel"] if data in ("cheetah_vel", "cheetah_dir", "ant_dir") else {}
  for section in set(body) & {"collection", "training"}:
    depart(config[section], body[section], f"config.{section}")
  config.collection.update({"prior_episodes": 1, "posterior_episodes": 0, "extra_episodes": 0})
  config.training.update({"repeated_tasks": False, "support_size": 1})  # no context is read
  config.evaluation.update({"exploration_episodes": 1, "adapted_episodes": 1})
  config.collection.family = f"{data}+task_vector"
  config.collection.ignored_observations = (17,) if data.startswith("cheetah") else ()
  return config
