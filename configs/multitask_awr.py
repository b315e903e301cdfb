"""Multi-task AWR with 20 fine-tuning steps.

python -m experiments.run --config=configs/multitask_awr.py                 half-cheetah forward and backward
python -m experiments.run --config=configs/multitask_awr.py:cheetah_vel     half-cheetah at 40 velocities
"""

import ml_collections

from .defaults import SHORT_EPISODES, defaults


def get_config(family: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """The offline multi-task baseline."""
  config = defaults("multitask_awr", family)
  if family == "cheetah_vel":
    config.training.steps = 8_000
  if family != "cheetah_dir":  # As for MACAW, and for its reasons.
    if family not in SHORT_EPISODES:
      config.algorithm.value_target = "bootstrapped"
      config.algorithm.advantage_target = "bootstrapped"
    config.algorithm.temperature = 0.5
    # The best of 1e-4, 3e-4, 1e-3 and 3e-3 on training tasks.
    config.algorithm.fine_tune_value_learning_rate = 1e-4
    config.algorithm.fine_tune_policy_learning_rate = 1e-4
  return config
