"""The quality of the data that an agent adapts to, with and without the advantage head.

python -m experiments.study --config=configs/studies/quality.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """MACAW and MAML+AWR, adapted to episodes of the start, the middle and the end of the collection."""
  return study(
    "quality",
    title="The quality of the data that an agent adapts to",
    question=(
      "Mitchell et al. 2021: MACAW adapts to poor data almost as well as to good ones, and needs its "
      "advantage head for that."
    ),
    methods=("macaw", "maml_awr"),
    evaluations={name: {"support": "own", "quality": name} for name in ("start", "middle", "end")},
    figures=("evaluations", "improvement"),
  )
