"""Multi-task implicit Q-learning, which is told the task, on recorded data.

python -m experiments.run --config=configs/multitask_iql.py                half-cheetah forward and backward
python -m experiments.run --config=configs/multitask_iql.py:cheetah_vel    half-cheetah at 40 velocities
python -m experiments.run --config=configs/multitask_iql.py:ant_dir        ant in 40 directions
"""

import ml_collections

from .contextual import contextual_defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """IQL on the observation with the task's numbers behind it."""
  config = contextual_defaults("multitask_iql", data)
  config.dataset.shown_task = "task_vector"
  config.training.support_size = 1  # not read
  return config
