"""VariBAD on recorded data.

python -m experiments.run --config=configs/varibad_offline.py                 two directions, starter data
python -m experiments.run --config=configs/varibad_offline.py:cheetah_vel     40 velocities, data/cheetah_vel
"""

import ml_collections

from .sequences import sequences


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The factory's defaults."""
  return sequences("varibad_offline", data)
