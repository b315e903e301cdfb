"""RL^2.

python -m experiments.run --config=configs/rl2.py                 point robot, trials of three episodes
python -m experiments.run --config=configs/rl2.py:bandit_100      five arms, 100 pulls
python -m experiments.run --config=configs/rl2.py:maze            mazes, trials of two episodes
python -m experiments.regret "runs/rl2-bandit_100-?"              regret beside Gittins' and Thompson's
"""

import ml_collections

from .trials import trials


def get_config(family: str = "point_robot") -> ml_collections.ConfigDict:
  """RL^2 on a family that it acts in."""
  return trials("rl2", family)
