"""MAML+AWR: MACAW without its advantage head.

python -m experiments.run --config=configs/maml_awr.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/maml_awr.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel
"""

import ml_collections

from . import macaw


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The configuration of MACAW, less the settings of its advantage head."""
  return macaw.get_config(data, algorithm="maml_awr")
