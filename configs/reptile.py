"""Reptile by policy gradients, with rewards.

python -m experiments.run --config=configs/reptile.py            point agent with rotated actions
python -m experiments.run --config=configs/reptile.py:<family>   any other family

Values are not tuned: on the point agent a run of 500 updates was not seen to do better after its steps than standing
still.
"""

import ml_collections

from .on_policy import on_policy


def get_config(family: str = "point_rotated") -> ml_collections.ConfigDict:
  """Reptile on a family. With one inner step it would be training on all tasks at once."""
  config = on_policy("reptile", family)
  config.rollouts.episodes = 20
  config.rollouts.inner_steps = 3
  if family.startswith("point_rotated"):
    config.rollouts.discount = 0.9
  return config
