"""Multi-task PPO.

python -m experiments.run --config=configs/multitask_ppo.py     eight mazes, each of them known
"""

import ml_collections

from .known_tasks import known_tasks


def get_config(family: str = "maze_8+task_index") -> ml_collections.ConfigDict:
  """Multi-task PPO on a family whose observations tell the task."""
  return known_tasks("multitask_ppo", family)
