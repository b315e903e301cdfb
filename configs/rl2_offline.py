"""RL^2 on recorded data.

python -m experiments.run --config=configs/rl2_offline.py                 two directions, starter data
python -m experiments.run --config=configs/rl2_offline.py:cheetah_vel     40 velocities, data/cheetah_vel
"""

import ml_collections

from .sequences import sequences


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The factory's defaults."""
  return sequences("rl2_offline", data)
