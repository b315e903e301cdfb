"""From slower velocities to faster ones.

python -m experiments.study --config=configs/studies/extrapolation.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """Methods that are trained on the slower half-cheetah velocities and tested on the faster ones."""
  return study(
    "extrapolation",
    title="From slower velocities to faster ones",
    question="Which agents can be asked for tasks that lie outside of those that they were trained on?",
    methods=("macaw", "maml_awr", "multitask_awr", "pearl_offline", "focal"),
    families=("cheetah_vel",),
    settings={
      "within": {"dataset": {"split": "in_distribution"}},
      "outside": {"dataset": {"split": "extrapolation"}},
    },
    figures=("settings", "improvement"),
  )
