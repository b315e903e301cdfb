"""VariBAD.

python -m experiments.run --config=configs/varibad.py                 point robot, trials of three episodes
python -m experiments.run --config=configs/varibad.py:bandit_100      five arms, 100 pulls
python -m experiments.run --config=configs/varibad.py:maze            mazes, trials of two episodes
python -m experiments.regret "runs/varibad-bandit_100-?"              regret beside Gittins' and Thompson's
"""

import ml_collections

from .trials import trials


def get_config(family: str = "point_robot") -> ml_collections.ConfigDict:
  """VariBAD on a family that it acts in."""
  return trials("varibad", family)
