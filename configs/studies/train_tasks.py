"""How many training tasks it takes.

python -m experiments.study --config=configs/studies/train_tasks.py
"""

import ml_collections

from .study import study

NUMBERS = (3, 5, 10, 20, 35)


def get_config() -> ml_collections.ConfigDict:
  """MACAW and multi-task AWR on 3 to 35 of the half-cheetah's velocities, evenly spaced."""
  return study(
    "train_tasks",
    title="The number of training tasks",
    question=(
      "Mitchell et al. 2021: with few training tasks MACAW still adapts, where a multi-task agent that is "
      "fine-tuned falls behind."
    ),
    methods=("macaw", "multitask_awr"),
    families=("cheetah_vel",),
    settings={f"tasks_{number}": {"dataset": {"train_tasks": number}} for number in NUMBERS},
    training={"steps": 4_000},
    figures=("settings", "curves"),
  )
