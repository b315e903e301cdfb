"""Single-task AWR: a new task from its support alone, from scratch.

python -m experiments.run --config=configs/single_task_awr.py                 half-cheetah forward and backward
python -m experiments.run --config=configs/single_task_awr.py:cheetah_vel     half-cheetah at 40 velocities

There is nothing to train: a run evaluates it.
"""

import ml_collections

from .defaults import defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """One update, which changes nothing."""
  config = defaults("single_task_awr", data)
  config.training.update(steps=1, evaluate_every=1, checkpoint_every=1, log_every=1)
  return config
