"""MAML+AWR on half-cheetah forward and backward: MACAW without its advantage head.

python -m experiments.run --config=configs/maml_awr.py
"""

import ml_collections

from configs import macaw


def get_config() -> ml_collections.ConfigDict:
  """The configuration of MACAW, less the term that MAML+AWR does not have."""
  config = macaw.get_config()
  config.algorithm.name = "maml_awr"
  del config.algorithm.advantage_coefficient
  return config
