"""Whose data an agent adapts to: all methods on all supports.

python -m experiments.study --config=configs/studies/behaviour_shift.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """Every method on recorded data, adapted to the tasks' own data, to others' and to its own episodes."""
  return study(
    "behaviour_shift",
    title="Whose data an agent adapts to",
    question=(
      "Agents are trained on data of policies that had learned their tasks. Do they read the task or the policy, when "
      "others collected the support?"
    ),
    methods=(
      "macaw",
      "maml_awr",
      "multitask_awr",
      "pearl_offline",
      "focal",
      "unicorn",
      "csro",
      "corro",
      "bati",
      "rl2_offline",
      "varibad_offline",
    ),
    directories={"cheetah_dir": "data/cheetah_dir"},  # collected: the starter data have no episodes of others
    training={"steps": 4_000, "evaluate_every": 1_000, "checkpoint_every": 1_000},
    evaluations={"all": {"support": "all", "episodes": 10}},
    figures=("evaluations",),
  )
