"""Learning that goes on in a new task, from episodes of the agent's own.

python -m experiments.study --config=configs/studies/fine_tuning.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """MACAW, MAML+AWR and training from scratch, after adaptation to 256 rows and up to 500 own episodes."""
  return study(
    "fine_tuning",
    title="Learning that goes on from own episodes",
    question=(
      "Mitchell et al. 2021: what an agent has learned from recorded data is a start from which it learns "
      "on faster than from scratch, in a task that it has adapted to."
    ),
    methods=("macaw", "maml_awr", "single_task_awr"),
    evaluations={"own": {"support": "own", "own_episodes": 500, "episodes": 1}},
    figures=("stages", "improvement"),
  )
