"""Divide and conquer.

python -m experiments.run --config=configs/divide_and_conquer.py     eight mazes, each of them known
"""

import ml_collections

from .known_tasks import known_tasks


def get_config(family: str = "maze_8+task_index") -> ml_collections.ConfigDict:
  """Divide and conquer on a family whose observations tell the task."""
  return known_tasks("divide_and_conquer", family)
