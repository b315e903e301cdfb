"""Multi-task behaviour cloning with 20 fine-tuning steps.

python -m experiments.run --config=configs/multitask_bc.py                 half-cheetah forward and backward
python -m experiments.run --config=configs/multitask_bc.py:cheetah_vel     half-cheetah at 40 velocities
"""

import ml_collections

from configs.defaults import defaults


def get_config(family: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """Imitation of all training tasks, then of a new one."""
  return defaults(
    "multitask_bc",
    family,
    hidden_sizes=(100, 100, 100),
    layer="bias_transform",
    standard_deviation=0.2,
    task_dropout=0.0,
    policy_learning_rate=3e-4,
    fine_tune_steps=20,
    fine_tune_policy_learning_rate=1e-3,
  )
