"""Multi-task AWR with 20 fine-tuning steps, on half-cheetah forward and backward.

python -m experiments.run --config=configs/multitask_awr.py
"""

import ml_collections

from configs.defaults import defaults


def get_config() -> ml_collections.ConfigDict:
  """The offline multi-task baseline."""
  return defaults(
    "multitask_awr",
    hidden_sizes=(100, 100, 100),
    layer="bias_transform",
    standard_deviation=0.2,
    value_target="bootstrapped",
    advantage_target="bootstrapped",
    temperature=0.5,
    task_dropout=0.0,
    value_learning_rate=3e-4,
    policy_learning_rate=3e-4,
    fine_tune_steps=20,
    fine_tune_value_learning_rate=1e-3,
    fine_tune_policy_learning_rate=1e-3,
  )
