"""MACAW beside its baselines, over steps of adaptation.

python -m experiments.study --config=configs/studies/baselines.py
"""

import ml_collections

from .study import study

METHODS = ("macaw", "maml_awr", "multitask_awr", "multitask_bc", "single_task_awr")


def get_config() -> ml_collections.ConfigDict:
  """Five methods on two families, five seeds, after 0, 1, 2, 5 and 20 steps."""
  return study(
    "baselines",
    title="MACAW and its baselines, over steps of adaptation",
    question=(
      "Mitchell et al. 2021: after a few gradient steps on offline data MACAW is ahead of MAML+AWR, of "
      "multi-task agents that are fine-tuned, and of training from scratch."
    ),
    methods=METHODS,
    evaluations={"as_trained": {"support": "own"}, "steps": {"support": "own", "steps": (0, 1, 2, 5, 20)}},
    seeds=5,
  )
