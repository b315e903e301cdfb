"""The size of the support, from 8 to 1,024 transitions.

python -m experiments.study --config=configs/studies/support_size.py
"""

import ml_collections

from .study import study

SIZES = (8, 16, 32, 64, 128, 256, 512, 1_024)


def get_config() -> ml_collections.ConfigDict:
  """Gradient-based and context-based agents as they are configured, adapted to supports of other sizes."""
  return study(
    "support_size",
    title="The size of the support",
    question="How few transitions of a task are enough, for agents that were trained with 128 or 256 of them?",
    methods=("macaw", "maml_awr", "pearl_offline", "focal"),
    evaluations={f"rows_{size}": {"support": "own", "support_size": size} for size in SIZES},
    figures=("evaluations",),
  )
