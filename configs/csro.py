"""CSRO.

python -m experiments.run --config=configs/csro.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/csro.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel

Less than a minute of one core on the starter data, with a score of 98 after adaptation to a task's own data (seed 0).
"""

import ml_collections

from .contextual import contextual_defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """FOCAL with embeddings that must not tell the behaviour policy."""
  return contextual_defaults("csro", data)
