"""BATI.

python -m experiments.run --config=configs/bati.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/bati.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel

Two minutes on the starter data, with a score of 94 after adaptation to a task's own data (seed 0).
"""

import ml_collections

from .contextual import contextual_defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The factory's defaults."""
  return contextual_defaults("bati", data)
