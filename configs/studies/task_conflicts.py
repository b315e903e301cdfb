"""How often the gradients of tasks conflict, and whether gradient surgery helps: multi-task SAC.

python -m experiments.study --config=configs/studies/task_conflicts.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """Multi-task SAC with the mean of the tasks' gradients, and with PCGrad; both log how many of them conflict."""
  return study(
    "task_conflicts",
    title="Gradients of tasks in conflict",
    question=(
      "Yu et al. 2020: gradients of tasks that point against each other slow multi-task learning down, and PCGrad "
      "mends it. How many pairs of tasks conflict, in critics and policy, and does surgery help where they do?"
    ),
    methods=("multitask_sac",),
    families=("cheetah_vel", "ant_dir"),
    settings={
      "mean": {"algorithm": {"gradient_surgery": "mean"}},
      "pcgrad": {"algorithm": {"gradient_surgery": "pcgrad"}},
    },
    metrics=("critic_loss_conflict_rate", "policy_loss_conflict_rate"),
    figures=("curves", "metrics", "improvement"),
  )
