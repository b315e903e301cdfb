"""Multi-task behaviour cloning with 20 fine-tuning steps.

python -m experiments.run --config=configs/multitask_bc.py                 half-cheetah forward and backward
python -m experiments.run --config=configs/multitask_bc.py:cheetah_vel     half-cheetah at 40 velocities
"""

import ml_collections

from .defaults import defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """Imitation of all training tasks, then of a new one."""
  return defaults("multitask_bc", data)
