"""Multi-task AWR with 20 fine-tuning steps.

python -m experiments.run --config=configs/multitask_awr.py                 half-cheetah forward and backward
python -m experiments.run --config=configs/multitask_awr.py:cheetah_vel     half-cheetah at 40 velocities
"""

import ml_collections

from .defaults import defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The offline multi-task baseline."""
  config = defaults("multitask_awr", data)
  if data == "cheetah_vel":
    config.training.steps = 8_000  # the length of the runs in docs/results.md
  return config
